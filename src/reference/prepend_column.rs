//! Twin of `shaders/prepend_column.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// `y = [first | rest]`, rest of `n` columns.
pub fn prepend_column<T: Scalar>(n: usize, first: &[T], rest: &[T], y: &mut [T]) {
    y.par_chunks_mut(n + 1)
        .zip(rest.par_chunks(n))
        .zip(first)
        .for_each(|((y, rest), first)| {
            y[0] = *first;
            y[1..].copy_from_slice(rest);
        });
}
