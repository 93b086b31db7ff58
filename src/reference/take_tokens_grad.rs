//! Twin of `shaders/take_tokens_grad.wgsl`.

use super::{Scalar, scratch};
use rayon::prelude::*;

/// Rows of a partial sum.
pub const ROWS: usize = 64;

/// `dfill` [d]: the sum over the rows of dy [rows,d] whose index is `n` or more, 64 rows at a time.
pub fn take_tokens_grad<T: Scalar>(n: usize, dy: &[T], index: &[u32], dfill: &mut [T]) {
    let d = dfill.len();
    let mut parts = scratch::shared::<T>(index.len().div_ceil(ROWS) * d);
    let blocks = parts.par_chunks_mut(d).zip(dy.par_chunks(ROWS * d));
    blocks
        .zip(index.par_chunks(ROWS))
        .for_each(|((part, dy), index)| {
            part.fill(T::zero());
            let rows = dy.chunks_exact(d).zip(index);
            for (dy, _) in rows.filter(|(_, i)| **i as usize >= n) {
                part.iter_mut().zip(dy).for_each(|(s, v)| *s += *v);
            }
        });
    dfill.fill(T::zero());
    for part in parts.chunks_exact(d) {
        dfill.iter_mut().zip(part).for_each(|(s, v)| *s += *v);
    }
}
