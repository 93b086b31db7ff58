//! Twin of `shaders/l2_normalize_grad.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// `dx = (dy - x (x . dy) / |x|^2) / |x|`, row by row; `dy / eps` where |x| is not above `eps`.
pub fn l2_normalize_grad<T: Scalar>(d: usize, eps: T, dy: &[T], x: &[T], dx: &mut [T]) {
    dx.par_chunks_mut(d)
        .zip(x.par_chunks(d))
        .zip(dy.par_chunks(d))
        .for_each(|((dx, x), dy)| {
            let norm = x.iter().map(|v| *v * *v).sum::<T>().sqrt();
            let inv = T::one() / norm.at_least(eps);
            let dot = x.iter().zip(dy).map(|(x, g)| *x * *g).sum::<T>();
            let along = if norm > eps {
                dot * inv * inv
            } else {
                T::zero()
            };
            for i in 0..d {
                dx[i] = (dy[i] - x[i] * along) * inv;
            }
        });
}
