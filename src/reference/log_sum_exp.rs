//! Twin of `shaders/log_sum_exp.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// `y_row = m + log sum_i exp(x_i - m)`, m the largest, rows of length `d`.
pub fn log_sum_exp<T: Scalar>(d: usize, x: &[T], y: &mut [T]) {
    y.par_iter_mut().zip(x.par_chunks(d)).for_each(|(y, x)| {
        let m = x.iter().copied().fold(T::neg_infinity(), T::max);
        *y = m + x.iter().map(|v| (*v - m).exp()).sum::<T>().ln();
    });
}
