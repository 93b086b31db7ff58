//! Twin of `shaders/prepend_column_grad.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// `[dfirst | drest] = dy`, drest of `n` columns.
pub fn prepend_column_grad<T: Scalar>(n: usize, dy: &[T], dfirst: &mut [T], drest: &mut [T]) {
    dy.par_chunks(n + 1)
        .zip(drest.par_chunks_mut(n))
        .zip(dfirst)
        .for_each(|((dy, rest), first)| {
            *first = dy[0];
            rest.copy_from_slice(&dy[1..]);
        });
}
