// How images come to the page: chosen, dropped, from the camera. Defines one global, `AmclInputs`.
//
//   images(files)    what the page takes of a list of files: [{name, source}]
//   files(to)        minds the buttons and what is dropped; to.add([{name, source}]), to.refuse(why)
//   camera(to)       minds the camera; to.fit(RGBA pixels) gives {bytes, how}, to.look(that) what it looks like in
//                    words, to.add([{name, bytes, how}]) keeps a frame, to.refuse(why), to.fail(error)
'use strict';

(function () {
  // What data sets carry beside their images is passed over.
  const NO_IMAGE = /\.(txt|csv|json|md|html?|xml|zip|tar|gz|npy|mat|pdf|mp4|ds_store)$/i;
  // Milliseconds between two frames.
  const PAUSE = 100;
  const id = (name) => document.getElementById(name);

  const isImage = (file) => file.type.startsWith('image/') || !(file.type || NO_IMAGE.test(file.name));
  const images = (files) =>
    [...files].filter(isImage).map((source) => ({ name: source.webkitRelativePath || source.name, source }));

  // All files below what was dropped. A directory gives its entries in parts, until a part is empty.
  async function below(entry, path) {
    if (entry.isFile) {
      const source = await new Promise((resolve, reject) => {
        entry.file(resolve, reject);
      });
      return isImage(source) ? [{ name: path + source.name, source }] : [];
    }
    const reader = entry.createReader();
    const out = [];
    for (;;) {
      const part = await new Promise((resolve, reject) => {
        reader.readEntries(resolve, reject);
      });
      if (!part.length) return out.sort((a, b) => (a.name < b.name ? -1 : 1));
      for (const e of part) out.push(...(await below(e, `${path}${entry.name}/`)));
    }
  }

  function files({ add, refuse }) {
    const drop = id('drop');
    // A file that misses the frame must not replace the page.
    document.addEventListener('dragover', (event) => {
      event.preventDefault();
      drop.classList.toggle('over', drop.contains(event.target));
    });
    document.addEventListener('dragleave', () => drop.classList.remove('over'));
    document.addEventListener('drop', async (event) => {
      event.preventDefault();
      drop.classList.remove('over');
      // Entries are only to be had while the event lasts.
      const entries = [...event.dataTransfer.items].map((i) => i.webkitGetAsEntry?.()).filter(Boolean);
      const plain = images(event.dataTransfer.files);
      try {
        add(entries.length ? (await Promise.all(entries.map((e) => below(e, '')))).flat() : plain);
      } catch (e) {
        refuse(`what was dropped (${e.message})`);
      }
    });
    for (const [button, input] of [
      ['choose', 'files'],
      ['choose-folder', 'folder'],
    ]) {
      id(button).addEventListener('click', () => id(input).click());
      id(input).addEventListener('change', () => {
        add(images(id(input).files));
        id(input).value = '';
      });
    }
  }

  function camera({ add, refuse, fit, look, fail }) {
    const video = id('video');
    let stream = null;
    let frame = null;
    let kept = 0;

    async function watch() {
      while (stream) {
        if (video.videoWidth) {
          frame = fit(AmclImages.pixels(video, video.videoWidth, video.videoHeight));
          id('live').textContent = await look(frame);
        }
        await new Promise((resolve) => {
          setTimeout(resolve, PAUSE);
        });
      }
    }

    function stop() {
      stream?.getTracks().forEach((track) => track.stop());
      stream = null;
      frame = null;
      id('camera').hidden = true;
      id('camera-on').disabled = false;
      id('camera-on').focus();
    }

    id('camera-on').addEventListener('click', async () => {
      id('camera-on').disabled = true;
      try {
        stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
      } catch (e) {
        id('camera-on').disabled = false;
        refuse(`the camera (${e.message})`);
        return;
      }
      video.srcObject = stream;
      id('camera').hidden = false;
      id('keep').focus();
      watch().catch((e) => {
        stop();
        fail(e);
      });
    });
    id('camera-off').addEventListener('click', stop);
    id('keep').addEventListener('click', () => {
      if (!frame) return;
      kept += 1;
      add([{ name: `frame ${kept}`, ...frame }]);
    });
    // Pages that come neither from https nor from localhost have no camera.
    id('camera-on').hidden = !navigator.mediaDevices?.getUserMedia;
  }

  globalThis.AmclInputs = { images, files, camera };
})();
