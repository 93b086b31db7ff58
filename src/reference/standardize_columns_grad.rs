//! Twin of `shaders/standardize_columns_grad.wgsl`.

use super::Scalar;
use super::scratch::{self, split};
use rayon::prelude::*;

/// From `[dy, y, inv]`: `dx = (dy - mean(dy) - y sum(dy y) / divisor) inv`, down the columns of each [n,d].
pub fn standardize_columns_grad<T: Scalar>(
    (n, d): (usize, usize),
    divisor: T,
    [dy, y, inv]: [&[T]; 3],
    dx: &mut [T],
) {
    dx.par_chunks_mut(n * d)
        .zip(dy.par_chunks(n * d))
        .zip(y.par_chunks(n * d))
        .zip(inv.par_chunks(d))
        .for_each(|(((dx, dy), y), inv)| {
            let mut sums = scratch::local(2 * d);
            sums.fill(T::zero());
            let [mean, along] = split(&mut sums, [d, d]);
            for (dy, y) in dy.chunks(d).zip(y.chunks(d)) {
                for j in 0..d {
                    mean[j] += dy[j] / T::of(n as f64);
                    along[j] += dy[j] * y[j] / divisor;
                }
            }
            for ((dx, dy), y) in dx.chunks_mut(d).zip(dy.chunks(d)).zip(y.chunks(d)) {
                for j in 0..d {
                    dx[j] = (dy[j] - mean[j] - y[j] * along[j]) * inv[j];
                }
            }
        });
}
