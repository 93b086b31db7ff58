// What a training step draws, bit for bit as the program draws it (src/reference/philox.rs, src/data/sampler.rs,
// src/data/augment.rs): the order of the samples, and each view's row of the augmentation's table. Defines one global,
// `AmclDraws`, and needs neither document nor GPU.
//
//   new Stream(seed, epoch, sample, purpose)   seed a BigInt, purpose one of PURPOSES; word(), uniform(), range(lo, hi),
//                                              below(n) for n up to 2^21, skip(n), clone()
//   permutation(n, seed, epoch)                Uint32Array: the order of an epoch
//   views(policy, {count, height, width, size}, ids, seed, epoch)
//                                              Float32Array [count * ids.length, ROW], view by view
//
// Numbers are f32 there, so each result is rounded here, in the same order. Sums, products, quotients and roots of f32
// that are computed in f64 and rounded are exactly those of f32. A logarithm or exponential is the f64 one rounded, which
// a good f32 library gives too, but for about one argument in a thousand that differs by the last bit; the sides of a
// crop, whole pixels, swallow that bit unless they lie on an exact half.
'use strict';

(function () {
  const f32 = Math.fround;
  const PURPOSES = { shuffle: 1, view0: 2, view1: 3 };
  // Entries of a row, and where they stand: src/reference/augment.rs.
  const ROW = 16;
  const [TOP, FLIP, ORDER, FACTORS, GRAY, RADIUS, SIGMA, SOLARISE, WIDTH] = [0, 4, 5, 6, 10, 11, 12, 13, 14];
  const NO_ADJUSTMENT = 4;
  // A crop takes at most 42 words (ten tries of two, then two); what follows begins after them, whatever the tries.
  const CROP_WORDS = 44;

  // The high word of the product of two words, by halves: 32 bits times 32 are more than a number holds.
  function high(a, b) {
    const [ah, al, bh, bl] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
    const middle = ah * bl + ((al * bl) >>> 16);
    const low = (middle & 0xffff) + al * bh;
    return (ah * bh + Math.floor(middle / 0x10000) + Math.floor(low / 0x10000)) >>> 0;
  }

  // One block of Philox 4x32-10: four words of a counter of four and a key of two.
  function philox([c0, c1, c2, c3], [k0, k1]) {
    for (let round = 0; round < 10; round += 1) {
      const [first, second] = [c0, c2];
      c0 = high(second, 0xcd9e8d57) ^ c1 ^ k0;
      c1 = Math.imul(second, 0xcd9e8d57);
      c2 = high(first, 0xd2511f53) ^ c3 ^ k1;
      c3 = Math.imul(first, 0xd2511f53);
      k0 += 0x9e3779b9;
      k1 += 0xbb67ae85;
    }
    return [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0];
  }

  class Stream {
    constructor(seed, epoch, sample, purpose) {
      this.key = [Number(seed & 0xffffffffn), Number((seed >> 32n) & 0xffffffffn)];
      this.counter = [0, sample, epoch, purpose];
      this.block = null;
      this.at = 4;
    }

    clone() {
      return Object.assign(Object.create(Stream.prototype), this, { counter: [...this.counter] });
    }

    word() {
      if (this.at === 4) {
        this.block = philox(this.counter, this.key);
        this.counter[0] = (this.counter[0] + 1) >>> 0;
        this.at = 0;
      }
      this.at += 1;
      return this.block[this.at - 1];
    }

    // Whole blocks are passed over uncomputed.
    skip(n) {
      const beyond = n - (4 - this.at);
      if (beyond > 0) this.counter[0] = (this.counter[0] + Math.floor(beyond / 4)) >>> 0;
      this.at = Math.min(this.at + n, 4);
      for (let i = 0; i < beyond % 4; i += 1) this.word();
    }

    // In [0, 1), a multiple of 2^-24.
    uniform() {
      return (this.word() >>> 8) / 2 ** 24;
    }

    // In [lo, hi).
    range(lo, hi) {
      return f32(lo + f32(f32(hi - lo) * this.uniform()));
    }

    // A whole number below n. The product stays below 2^53.
    below(n) {
      return Math.floor((this.word() * n) / 2 ** 32);
    }
  }

  function permutation(n, seed, epoch) {
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    const stream = new Stream(seed, epoch, 0, PURPOSES.shuffle);
    for (let i = n - 1; i > 0; i -= 1) {
      const j = stream.below(i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }

  const [LOG_LOW, LOG_HIGH] = [f32(Math.log(0.75)), f32(Math.log(f32(4 / 3)))];
  // Halves go up, as Rust's do where nothing is negative.
  const rootOf = (area) => Math.floor(f32(Math.sqrt(area)) + 0.5);

  // The box that a crop keeps: top, left, height, width (ten tries, then the centre).
  function crop(policy, h, w, stream) {
    for (let tried = 0; tried < 10; tried += 1) {
      const target = f32(h * w * stream.range(policy.min_scale, 1));
      const ratio = f32(Math.exp(stream.range(LOG_LOW, LOG_HIGH)));
      const [cw, ch] = [rootOf(f32(target * ratio)), rootOf(f32(target / ratio))];
      if (cw >= 1 && cw <= w && ch >= 1 && ch <= h) {
        const top = stream.below(h - ch + 1);
        return [top, stream.below(w - cw + 1), ch, cw];
      }
    }
    const ratio = f32(w / h);
    let [ch, cw] = [h, w];
    if (ratio < 0.75) ch = Math.min(Math.floor(f32(w / 0.75) + 0.5), h);
    else if (ratio > f32(4 / 3)) cw = Math.min(Math.floor(f32(f32(h * 4) / 3) + 0.5), w);
    return [Math.floor((h - ch) / 2), Math.floor((w - cw) / 2), ch, cw];
  }

  // Writes the row of one view. Numbers are drawn in a fixed order, also for what is then not done.
  function draw(row, policy, { height, width, size }, view, s) {
    const has = (family) => policy.families.includes(family);
    row.set(has('a') ? crop(policy, height, width, s.clone()) : [0, 0, height, width], TOP);
    row[WIDTH] = width;
    s.skip(CROP_WORDS);
    const flip = s.uniform() < policy.hf_prob;
    row[FLIP] = flip && has('e') ? 1 : 0;
    const jitter = s.uniform() < policy.cj_prob;
    let order = [0, 1, 2, 3];
    for (let i = 3; i > 0; i -= 1) {
      const j = s.below(i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    policy.jitter.forEach((strength, i) => {
      const [low, most] = i === 3 ? [-strength, strength] : [Math.max(f32(1 - strength), 0), f32(1 + strength)];
      row[FACTORS + i] = s.range(low, most);
    });
    if (!(jitter && has('d'))) order = Array(4).fill(NO_ADJUSTMENT);
    row[ORDER] = order.reduceRight((code, adjustment) => 5 * code + adjustment, 0);
    const gray = s.uniform() < policy.random_gray_scale;
    row[GRAY] = gray && has('c') ? 1 : 0;
    const blur = s.uniform() < policy.gaussian_blur[view];
    row[SIGMA] = s.range(policy.sigmas[0], policy.sigmas[1]);
    if (blur && has('b')) row[RADIUS] = Math.max(Math.floor(f32(f32(size * policy.kernel_size) / 2)), 1);
    row[SOLARISE] = s.uniform() < policy.solarization_prob[view] ? policy.solarization_threshold : 2;
  }

  function views(policy, shape, ids, seed, epoch) {
    const table = new Float32Array(shape.count * ids.length * ROW);
    const purposes = [PURPOSES.view0, PURPOSES.view1].slice(0, shape.count);
    purposes.forEach((purpose, view) => {
      ids.forEach((id, i) => {
        const at = (view * ids.length + i) * ROW;
        draw(table.subarray(at, at + ROW), policy, shape, view, new Stream(seed, epoch, id, purpose));
      });
    });
    return table;
  }

  // Where two arrays first differ, in bits; -1 where they are equal, -0 and 0 counting as different.
  function difference(a, b) {
    const [x, y] = [a, b].map((v) => new Uint32Array(v.buffer, v.byteOffset, v.byteLength / 4));
    if (x.length !== y.length) return Math.min(x.length, y.length);
    return x.findIndex((word, i) => word !== y[i]);
  }

  globalThis.AmclDraws = { PURPOSES, ROW, philox, Stream, permutation, views, difference };
})();
