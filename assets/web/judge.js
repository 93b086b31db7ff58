// Inputs of the case table from their seeds, and the judgement of results: what `Feed::make` (src/check/mod.rs) and
// `judge` (src/check/harness.rs) do. Defines one global, `AmclJudge`.
'use strict';

(function () {
  // The low 64 bits of a product, as halves.
  function product(high, low, otherHigh, otherLow) {
    const [a, b, c, d] = [low >>> 16, low & 0xffff, otherLow >>> 16, otherLow & 0xffff];
    const middle = Math.floor((b * d) / 65536) + ((a * d) & 0xffff) + ((b * c) & 0xffff);
    const carried = a * c + Math.floor((a * d) / 65536) + Math.floor((b * c) / 65536) + Math.floor(middle / 65536);
    return [(carried + Math.imul(high, otherLow) + Math.imul(low, otherHigh)) >>> 0, Math.imul(low, otherLow) >>> 0];
  }

  // x ^ (x >> n), n below 32.
  const folded = ([high, low], n) => [(high ^ (high >>> n)) >>> 0, (low ^ ((low >>> n) | (high << (32 - n)))) >>> 0];

  // SplitMix64's first 24 bits as numbers in [0, 1). The seed is a decimal or hexadecimal (0x) text of 64 bits.
  function units(seed) {
    const start = BigInt(seed);
    let [high, low] = [Number(start >> 32n), Number(start & 0xffffffffn)];
    return () => {
      const sum = low + 0x7f4a7c15;
      high = (high + 0x9e3779b9 + (sum > 0xffffffff ? 1 : 0)) >>> 0;
      low = sum >>> 0;
      let z = product(...folded([high, low], 30), 0xbf58476d, 0x1ce4e5b9);
      z = product(...folded(z, 27), 0x94d049bb, 0x133111eb);
      return (folded(z, 31)[0] >>> 8) / 2 ** 24;
    };
  }

  // The numbers of a feed, as f32 or u32: {uniform: [low, high], seed} or {index: n, seed}.
  function make(n, how) {
    const next = units(how.seed);
    const f = Math.fround;
    if (how.uniform) {
      const [low, span] = [f(how.uniform[0]), f(f(how.uniform[1]) - f(how.uniform[0]))];
      return Float32Array.from({ length: n }, () => f(low + f(span * next())));
    }
    return Uint32Array.from({ length: n }, () => Math.trunc(f(next() * f(how.index))) % how.index);
  }

  // Numbers as the bits of f16, rounded to the nearest and from a tie to even.
  function toHalf(value) {
    const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
    const size = Math.abs(value);
    if (Number.isNaN(size)) return 0x7e00;
    if (size >= 65520) return sign | 0x7c00;
    const exponent = Math.max(-14, size > 0 ? Math.floor(Math.log2(size)) : -14);
    const unit = 2 ** (exponent - 10);
    const steps = size / unit;
    const down = Math.floor(steps);
    const up = steps - down > 0.5 || (steps - down === 0.5 && down % 2 === 1) ? 1 : 0;
    // A carry out of the fraction is the next exponent's beginning.
    return sign | ((exponent + 14) * 1024 + down + up);
  }

  function fromHalf(bits) {
    const sign = bits >> 15 ? -1 : 1;
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return exponent ? sign * (1 + fraction / 1024) * 2 ** (exponent - 15) : sign * fraction * 2 ** -24;
  }

  // A result against what the f64 twin has: {share: largest error in shares of its bound, fault: '' where it passed}.
  function judge(got, want, bound) {
    if (want instanceof Uint32Array) {
      const at = want.findIndex((w, i) => w !== got[i]);
      return { share: 0, fault: at < 0 ? '' : `element ${at}: ${got[at]} instead of ${want[at]}` };
    }
    const scale = want.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 2.3e-308);
    let [errors, all, worst, fault] = [0, 0, 0, ''];
    for (let i = 0; i < want.length; i += 1) {
      const [x, y] = [got[i], want[i]];
      if (Number.isFinite(x) && Number.isFinite(y)) {
        const far = Math.abs(x - y) / scale;
        errors += (x - y) ** 2;
        all += y * y;
        worst = Math.max(worst, far);
        if (far > bound.max && !fault) fault = `element ${i}: ${x} instead of ${y}`;
      } else if (!Object.is(x, y) && !fault) fault = `element ${i}: ${x} instead of ${y}`;
    }
    const nmse = all > 0 ? errors / all : errors;
    if (nmse > bound.nmse && !fault) fault = `NMSE ${nmse.toExponential(2)} over ${bound.nmse.toExponential(2)}`;
    return { share: worst / bound.max, fault };
  }

  globalThis.AmclJudge = { make, toHalf, fromHalf, judge, units };
})();
