//! Twin of `shaders/softmax_grad.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// `dx_i = y_i (dy_i - sum_j dy_j y_j)`, rows of length `d`.
pub fn softmax_grad<T: Scalar>(d: usize, dy: &[T], y: &[T], dx: &mut [T]) {
    dx.par_chunks_mut(d)
        .zip(dy.par_chunks(d))
        .zip(y.par_chunks(d))
        .for_each(|((dx, dy), y)| {
            let along: T = dy.iter().zip(y).map(|(g, y)| *g * *y).sum();
            for i in 0..dx.len() {
                dx[i] = y[i] * (dy[i] - along);
            }
        });
}
