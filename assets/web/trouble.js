// What a page says when it cannot work, and what the visitor can do about it: `AmclTrouble(error)`.
// `AmclTrouble.named(adapter)` is a graphics adapter's name, as far as the browser gives it.
'use strict';

(function () {
  function line(tag, text, className) {
    const e = document.createElement(tag);
    e.textContent = text;
    if (className) e.className = className;
    return e;
  }

  // Where this page stands once its folder is served.
  const served = () => `http://localhost:8000/${location.pathname.split('/').pop()}`;

  function noGpu(box, why) {
    box.append(
      line('h2', 'This page needs WebGPU'),
      line('p', `It computes on your graphics card, and ${why}.`),
      line(
        'p',
        'WebGPU is in Chrome and Edge from version 113 (Android: 121), in Safari from version 26, and in Firefox ' +
          'from version 141 on Windows and 145 on macOS with Apple silicon. In Chrome on Linux it may have to ' +
          'be switched on: chrome://flags/#enable-unsafe-webgpu.',
      ),
      line(
        'p',
        'It is offered to pages from https:// and from localhost. A folder on this computer is served by this ' +
          `command, given in the folder; open ${served()} then.`,
      ),
      line('pre', AmclFiles.serve),
    );
  }

  function noFiles(box, error) {
    box.append(
      line('h2', location.protocol === 'file:' ? 'This folder has to be served' : 'A file of this page is missing'),
    );
    if (location.protocol === 'file:') {
      box.append(
        line(
          'p',
          'The page was opened as a file, and browsers do not let such a page read the files beside it. Give this ' +
            `command in the folder that holds it, and open ${served()}.`,
        ),
        line('pre', AmclFiles.serve),
      );
    }
    box.append(line('p', error.message, 'soft'));
  }

  globalThis.AmclTrouble = (error) => {
    const box = document.getElementById('trouble');
    box.replaceChildren();
    const why = AmclPlayer.missing();
    if (error instanceof AmclFiles.Missing) noFiles(box, error);
    else if (why) noGpu(box, why);
    else box.append(line('h2', 'This does not work here'), line('p', error.message));
    box.hidden = false;
  };

  globalThis.AmclTrouble.named = ({ info = {} }) => {
    const words = [info.vendor, info.architecture, info.description].filter(Boolean);
    return words.join(', ') || 'not named by the browser';
  };
})();
