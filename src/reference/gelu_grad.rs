//! Twin of `shaders/gelu_grad.wgsl`.

use super::Scalar;
use super::elementwise::{CHUNK, vectorized};
use rayon::prelude::*;

/// `dx = dy (Phi(x) + x phi(x))`, phi the standard normal's density.
///
/// The loop stands here and not in a closure for `elementwise::map2`: the compiler does not inline one of this length,
/// and what is not inlined is not compiled to vectors (five times the time).
pub fn gelu_grad<T: Scalar>(dy: &[T], x: &[T], dx: &mut [T]) {
    // 1 / sqrt(2 pi).
    let scale = T::of(0.398_942_280_401_432_7);
    dx.par_chunks_mut(CHUNK)
        .zip(dy.par_chunks(CHUNK))
        .zip(x.par_chunks(CHUNK))
        .for_each(|((dx, dy), x)| {
            vectorized(|| {
                for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
                    let (phi, e) = x.normal();
                    *dx = *dy * (phi + *x * e * scale);
                }
            });
        });
}
