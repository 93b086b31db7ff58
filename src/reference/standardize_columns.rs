//! Twin of `shaders/standardize_columns.wgsl`.

use super::Scalar;
use super::scratch::{self, split};
use rayon::prelude::*;

/// Columns of each [n,d] with zero mean and unit deviation, whose square is the sum of squares over `divisor`, plus
/// `eps`; `inv` = 1/deviation.
pub fn standardize_columns<T: Scalar>(
    (n, d): (usize, usize),
    (divisor, eps): (T, T),
    x: &[T],
    y: &mut [T],
    inv: &mut [T],
) {
    y.par_chunks_mut(n * d)
        .zip(x.par_chunks(n * d))
        .zip(inv.par_chunks_mut(d))
        .for_each(|((y, x), inv)| {
            let count = T::of(n as f64);
            let mut sums = scratch::local(2 * d);
            sums.fill(T::zero());
            let [mean, square] = split(&mut sums, [d, d]);
            for row in x.chunks(d) {
                mean.iter_mut().zip(row).for_each(|(m, v)| *m += *v / count);
            }
            for row in x.chunks(d) {
                for j in 0..d {
                    square[j] += (row[j] - mean[j]) * (row[j] - mean[j]);
                }
            }
            for j in 0..d {
                inv[j] = T::one() / (square[j] / divisor + eps).sqrt();
            }
            for (y, x) in y.chunks_mut(d).zip(x.chunks(d)) {
                for j in 0..d {
                    y[j] = (x[j] - mean[j]) * inv[j];
                }
            }
        });
}
