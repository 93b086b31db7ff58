//! Twin of `shaders/lars_trust.wgsl`.

use super::Scalar;
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
    let parts: Vec<(T, T)> = w
        .par_chunks(BLOCK)
        .zip(grad.par_chunks(BLOCK))
        .with_min_len(256)
        .map(|(w, g)| (square(w), square(g)))
        .collect();
    let mut sums = vec![(T::zero(), T::zero()); table.len() / 4];
    for ((a, b), s) in parts.into_iter().zip(segment) {
        let sum = &mut sums[*s as usize];
        sum.0 += a;
        sum.1 += b;
    }
    for ((out, row), sum) in out.chunks_mut(4).zip(table.chunks(4)).zip(sums) {
        let (w, g) = (sum.0.sqrt(), sum.1.sqrt());
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
