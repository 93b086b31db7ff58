//! Twin of `shaders/global_avg_pool_grad.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// `dx[n,s,c] = dy[n,c] / s`.
pub fn global_avg_pool_grad<T: Scalar>(s: usize, c: usize, dy: &[T], dx: &mut [T]) {
    let inv = T::one() / T::of(s as f64);
    dx.par_chunks_mut(s * c)
        .zip(dy.par_chunks(c))
        .for_each(|(dx, dy)| {
            for row in dx.chunks_mut(c) {
                row.iter_mut().zip(dy).for_each(|(d, v)| *d = *v * inv);
            }
        });
}
