// From an image to the bytes that the encoder takes: what src/data/pixels.rs does for evaluation, step by step. Defines
// one global, `AmclImages`.
//
// The largest centred square is brought to size by a triangle as wide as the step (Pillow's and torchvision's
// antialiased bilinear), in the fixed-point arithmetic of fast_image_resize: columns first, then rows, rounded to bytes
// after each. The bytes are the program's where the decoded pixels are: those of PNGs without transparency; decoders of
// JPEGs differ by a few levels.
'use strict';

(function () {
  // Weights in 16 bits of which one is the sign; sums in 32, of which two are left for overflow.
  const PRECISION = 22;
  const WEIGHT = 1 << 15;

  // Of each output along a line of `length` pixels brought to `size`: the first input, and the weights from there on,
  // as integers of `precision` bits.
  function taps(length, size) {
    const scale = length / size;
    const radius = Math.max(scale, 1);
    const lines = [];
    let largest = 0;
    for (let i = 0; i < size; i += 1) {
      const centre = (i + 0.5) * scale;
      const start = Math.max(Math.floor(centre - radius), 0);
      const end = Math.min(Math.ceil(centre + radius), length);
      const all = [];
      for (let x = start; x < end; x += 1) {
        const far = Math.abs((x - (centre - 0.5)) * (1 / radius));
        all.push(far < 1 ? 1 - far : 0);
      }
      const sum = all.reduce((a, b) => a + b, 0);
      const weights = all.map((w) => w / sum);
      largest = Math.max(largest, ...weights);
      lines.push({ first: start, weights });
    }
    let precision = 0;
    while (precision < PRECISION - 1 && Math.round(largest * 2 ** (precision + 1)) < WEIGHT) precision += 1;
    for (const line of lines) line.weights = Int32Array.from(line.weights, (w) => Math.round(w * 2 ** precision));
    return { lines, precision };
  }

  // The square of side `square` at (left, top) of an image of `channels` bytes a pixel, brought to `size`: RGB bytes.
  function resize({ data, width, channels }, left, top, square, size) {
    const { lines, precision } = taps(square, size);
    const half = 1 << (precision - 1);
    const narrow = new Uint8ClampedArray(3 * square * size);
    lines.forEach(({ first, weights }, y) => {
      for (let x = 0; x < square; x += 1) {
        const from = channels * ((top + first) * width + left + x);
        for (let c = 0; c < 3; c += 1) {
          let sum = half;
          for (let k = 0; k < weights.length; k += 1) sum += weights[k] * data[from + k * channels * width + c];
          narrow[3 * (y * square + x) + c] = sum >> precision;
        }
      }
    });
    const out = new Uint8ClampedArray(3 * size * size);
    lines.forEach(({ first, weights }, x) => {
      for (let y = 0; y < size; y += 1) {
        for (let c = 0; c < 3; c += 1) {
          let sum = half;
          for (let k = 0; k < weights.length; k += 1) sum += weights[k] * narrow[3 * (y * square + first + k) + c];
          out[3 * (y * size + x) + c] = sum >> precision;
        }
      }
    });
    return new Uint8Array(out.buffer);
  }

  // An image as the program's `height` x `width` RGB bytes, and how they were got.
  function fitted(image, height, width) {
    if (image.width === width && image.height === height) return { bytes: rgb(image), how: 'exact' };
    if (height !== width) return { bytes: rgb(pixels(canvasOf(image), width, height)), how: 'canvas' };
    const short = Math.min(image.width, image.height);
    const [left, top] = [image.width, image.height].map((all) => Math.floor((all - short) / 2));
    return { bytes: resize(image, left, top, short, height), how: 'resized' };
  }

  const rgb = ({ data, channels }) =>
    Uint8Array.from({ length: (3 * data.length) / channels }, (_, i) => data[channels * Math.floor(i / 3) + (i % 3)]);

  // Pixels of what a canvas can draw (an ImageBitmap, a video), RGBA.
  function pixels(drawable, width, height, alpha) {
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width, height });
    const context = canvas.getContext('2d', { willReadFrequently: true, colorSpace: 'srgb' });
    if (alpha === 'white') {
      context.fillStyle = '#fff';
      context.fillRect(0, 0, width, height);
    }
    context.drawImage(drawable, 0, 0, width, height);
    return { data: context.getImageData(0, 0, width, height).data, width, height, channels: 4 };
  }

  // The pixels of a file, upright, in the colours that it stores. `alpha` white: transparency is laid on white.
  async function decode(blob, alpha) {
    const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none', imageOrientation: 'from-image' });
    try {
      return pixels(bitmap, bitmap.width, bitmap.height, alpha);
    } finally {
      bitmap.close();
    }
  }

  // Images as the input of `batch`: each from the beginning of a whole word on; the last one is repeated to the end.
  function pack(images, input, batch) {
    const stride = (4 * input.dims.reduce((a, b) => a * b, 1)) / batch;
    const out = new Uint8Array(stride * batch);
    for (let i = 0; i < batch; i += 1) out.set(images[Math.min(i, images.length - 1)], i * stride);
    return out;
  }

  function canvasOf({ data, width, height }) {
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width, height });
    canvas.getContext('2d').putImageData(new ImageData(data, width, height), 0, 0);
    return canvas;
  }

  // A canvas that shows RGB bytes.
  function show(bytes, height, width) {
    const data = new Uint8ClampedArray(4 * height * width).fill(255);
    for (let i = 0; i < bytes.length; i += 1) data[4 * Math.floor(i / 3) + (i % 3)] = bytes[i];
    return canvasOf({ data, width, height });
  }

  globalThis.AmclImages = { resize, fitted, pixels, decode, pack, show };
})();
