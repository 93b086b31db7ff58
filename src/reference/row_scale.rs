//! Twin of `shaders/row_scale.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// `y_row = s_row x_row`, rows of length `d`.
pub fn row_scale<T: Scalar>(d: usize, x: &[T], s: &[T], y: &mut [T]) {
    y.par_chunks_mut(d)
        .zip(x.par_chunks(d))
        .zip(s)
        .for_each(|((y, x), s)| y.iter_mut().zip(x).for_each(|(y, x)| *y = *s * *x));
}
