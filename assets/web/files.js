// The files that belong to a page, fetched or inlined, and those that it makes. Defines one global, `AmclFiles`.
//
// A folder may carry inline.js, a script that sets window.AMCL_INLINE = {name: base64 of the file}; what stands there
// is not fetched, so that the page works from file:// too.
'use strict';

(function () {
  // A file that could not be had, as opposed to one whose contents are wrong.
  class Missing extends Error {}

  const serve = 'python3 -m http.server';

  function inlined(name) {
    const text = globalThis.AMCL_INLINE?.[name];
    return text === undefined ? null : Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  }

  async function bytes(name) {
    const here = inlined(name);
    if (here) return here;
    let answer;
    try {
      answer = await fetch(name);
    } catch (e) {
      throw new Missing(`${name} cannot be fetched: ${e.message}`);
    }
    if (!answer.ok)
      throw new Missing(`${name} is not there: the server answered ${answer.status} ${answer.statusText}`);
    return answer.arrayBuffer();
  }

  async function json(name) {
    const text = new TextDecoder().decode(await bytes(name));
    try {
      return JSON.parse(text);
    } catch (e) {
      throw new Error(`${name}: ${e.message}`);
    }
  }

  // An address of the file that a picture or a style can name.
  function address(name) {
    const here = inlined(name);
    return here ? URL.createObjectURL(new Blob([here])) : name;
  }

  // NumPy's format, version 1.0: rows of little-endian f32.
  function npy(rows, columns) {
    const head = `{'descr': '<f4', 'fortran_order': False, 'shape': (${rows.length}, ${columns}), }`;
    // The array begins at a multiple of 64; the header ends with a newline.
    const length = Math.ceil((10 + head.length + 1) / 64) * 64 - 10;
    const out = new Uint8Array(10 + length + 4 * rows.length * columns);
    out.set([0x93, ...new TextEncoder().encode('NUMPY'), 1, 0, length & 255, length >> 8]);
    out.set(new TextEncoder().encode(`${head.padEnd(length - 1)}\n`), 10);
    const view = new DataView(out.buffer, 10 + length);
    rows.forEach((row, r) => row.forEach((v, c) => view.setFloat32(4 * (r * columns + c), v, true)));
    return out;
  }

  function download(name, contents, type) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([contents], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  globalThis.AmclFiles = { Missing, serve, bytes, json, address, npy, download };
})();
