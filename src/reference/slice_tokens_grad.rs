//! Twin of `shaders/slice_tokens_grad.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// For each row of `row` numbers of dx: `count` of dy from number `first` on, zero elsewhere.
pub fn slice_tokens_grad<T: Scalar>(
    row: usize,
    (first, count): (usize, usize),
    dy: &[T],
    dx: &mut [T],
) {
    let rows = dx.par_chunks_mut(row).zip(dy.par_chunks(count));
    rows.for_each(|(dx, dy)| {
        dx.fill(T::zero());
        dx[first..first + count].copy_from_slice(dy);
    });
}
