//! Twin of `shaders/softmax.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// `y_i = exp(x_i - m) / sum_j exp(x_j - m)`, m the largest, rows of length `d`.
pub fn softmax<T: Scalar>(d: usize, x: &[T], y: &mut [T]) {
    y.par_chunks_mut(d).zip(x.par_chunks(d)).for_each(|(y, x)| {
        let m = x.iter().copied().fold(T::neg_infinity(), T::max);
        y.iter_mut().zip(x).for_each(|(y, x)| *y = (*x - m).exp());
        let total: T = y.iter().copied().sum();
        y.iter_mut().for_each(|y| *y /= total);
    });
}
