//! Twin of `shaders/max_pool_grad.wgsl`.

use super::Scalar;
use super::max_pool::Window;
use rayon::prelude::*;

/// `dx[argmax] += dy`: windows in row-major order, one task an image.
pub fn max_pool_grad<T: Scalar>(p: &Window, dy: &[T], argmax: &[u32], dx: &mut [T]) {
    let out = p.oh * p.ow * p.c;
    dx.par_chunks_mut(p.h * p.w * p.c)
        .zip(dy.par_chunks(out))
        .zip(argmax.par_chunks(out))
        .for_each(|((dx, dy), argmax)| {
            dx.fill(T::zero());
            for (dy, argmax) in dy.chunks(p.c).zip(argmax.chunks(p.c)) {
                for c in 0..p.c {
                    dx[argmax[c] as usize * p.c + c] += dy[c];
                }
            }
        });
}
