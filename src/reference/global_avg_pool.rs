//! Twin of `shaders/global_avg_pool.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// `y[n,c] = mean over s of x[n,s,c]`.
pub fn global_avg_pool<T: Scalar>(s: usize, c: usize, x: &[T], y: &mut [T]) {
    let inv = T::one() / T::of(s as f64);
    y.par_chunks_mut(c)
        .zip(x.par_chunks(s * c))
        .for_each(|(y, x)| {
            y.fill(T::zero());
            for row in x.chunks(c) {
                y.iter_mut().zip(row).for_each(|(y, v)| *y += *v);
            }
            y.iter_mut().for_each(|y| *y *= inv);
        });
}
