//! Twin of `shaders/row_dot.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// `y_row = a_row . b_row`, rows of length `d`.
pub fn row_dot<T: Scalar>(d: usize, a: &[T], b: &[T], y: &mut [T]) {
    y.par_iter_mut()
        .zip(a.par_chunks(d))
        .zip(b.par_chunks(d))
        .for_each(|((y, a), b)| *y = a.iter().zip(b).map(|(a, b)| *a * *b).sum());
}
