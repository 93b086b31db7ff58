//! Twin of `shaders/squared_distance.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// `y[row,i] = |q_row - b_column[row,i]|^2`: q [rows,d], b [n,d], column and y [rows,k].
pub fn squared_distance<T: Scalar>(
    d: usize,
    k: usize,
    q: &[T],
    b: &[T],
    column: &[u32],
    y: &mut [T],
) {
    y.par_chunks_mut(k)
        .zip(column.par_chunks(k))
        .zip(q.par_chunks(d))
        .for_each(|((y, column), q)| {
            for (y, c) in y.iter_mut().zip(column) {
                let b = &b[*c as usize * d..][..d];
                *y = q.iter().zip(b).map(|(q, b)| (*q - *b) * (*q - *b)).sum();
            }
        });
}
