//! Twin of `shaders/lars_trust.wgsl`.

use super::Scalar;
use super::scratch::{self, split};
use super::sgd::BLOCK;
use rayon::prelude::*;

/// Trust ratios `eta |w| / (|g| + wd |w| + 1e-8)` per segment; `table` and `out` hold rows of
/// (multiplier, weight decay, trust, 0); a negative trust in `table` excludes the segment (ratio 1).
pub fn lars_trust<T: Scalar>(
    eta: T,
    grad: &[T],
    w: &[T],
    segment: &[u32],
    table: &[T],
    out: &mut [T],
) {
    let square = |x: &[T]| -> T { x.iter().map(|v| *v * *v).sum() };
    let blocks = w.len().div_ceil(BLOCK);
    let mut memory = scratch::shared(2 * blocks + table.len() / 2);
    let [parts, sums] = split(&mut memory, [2 * blocks, table.len() / 2]);
    parts
        .par_chunks_mut(2)
        .zip(w.par_chunks(BLOCK))
        .zip(grad.par_chunks(BLOCK))
        .with_min_len(256)
        .for_each(|((part, w), g)| part.copy_from_slice(&[square(w), square(g)]));
    sums.fill(T::zero());
    for (part, s) in parts.chunks(2).zip(segment) {
        let at = 2 * *s as usize;
        sums[at] += part[0];
        sums[at + 1] += part[1];
    }
    for ((out, row), sum) in out.chunks_mut(4).zip(table.chunks(4)).zip(sums.chunks(2)) {
        let (w, g) = (sum[0].sqrt(), sum[1].sqrt());
        let trust = if row[2] >= T::zero() && w > T::zero() && g > T::zero() {
            eta * w / (g + row[1] * w + T::of(1e-8))
        } else {
            T::one()
        };
        out.copy_from_slice(&[row[0], row[1], trust, T::zero()]);
    }
}

#[cfg(test)]
mod tests {
    use super::lars_trust;

    #[test]
    fn ratio_exclusion_and_zero_weights() {
        let mut w = [0.0f64; 192];
        let mut g = [0.0f64; 192];
        (w[0], w[1], g[0]) = (3.0, 4.0, 2.0);
        (w[64], g[64]) = (1.0, 1.0);
        g[128] = 1.0;
        let table = [1.0, 0.1, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 1.0, 0.1, 0.0, 0.0];
        let mut out = [0.0; 12];
        lars_trust(0.02, &g, &w, &[0, 1, 2], &table, &mut out);
        assert!((out[2] - 0.02 * 5.0 / (2.0 + 0.5 + 1e-8)).abs() < 1e-15);
        assert_eq!((out[6], out[10]), (1.0, 1.0));
    }
}
