//! Twin of `shaders/log_sum_exp.wgsl`.

use super::elementwise::{max_in_lanes, sum_in_lanes, vectorized};
use super::{Scalar, scratch};
use rayon::prelude::*;

/// `y_row = m + log sum_i exp(x_i - m)`, m the largest, rows of length `d`.
pub fn log_sum_exp<T: Scalar>(d: usize, x: &[T], y: &mut [T]) {
    y.par_iter_mut().zip(x.par_chunks(d)).for_each(|(y, x)| {
        let mut row = scratch::local(d);
        row.copy_from_slice(x);
        *y = vectorized(|| log_sum_exp_in_place(&mut row));
    });
}

/// That of one row, of which the exponentials are left; for code inside [`vectorized`].
#[inline(always)]
pub(super) fn log_sum_exp_in_place<T: Scalar>(x: &mut [T]) -> T {
    let m = max_in_lanes(x);
    for v in x.iter_mut() {
        *v = (*v - m).exp_of_many();
    }
    m + sum_in_lanes(x).ln()
}
