//! Twin of `shaders/slice_tokens.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// For each row of `row` numbers of x: `count` of them from number `first` on.
pub fn slice_tokens<T: Scalar>(row: usize, (first, count): (usize, usize), x: &[T], y: &mut [T]) {
    let rows = y.par_chunks_mut(count).zip(x.par_chunks(row));
    rows.for_each(|(y, x)| y.copy_from_slice(&x[first..first + count]));
}
