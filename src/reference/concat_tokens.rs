//! Twin of `shaders/concat_tokens.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// For each of the images that `rest` holds, `n` numbers each: `first`'s `m` numbers, its own or the same for all, and
/// then its own of `rest`.
pub fn concat_tokens<T: Scalar>((m, n): (usize, usize), first: &[T], rest: &[T], y: &mut [T]) {
    let own = if first.len() == m { 0 } else { m };
    let images = y.par_chunks_mut(m + n).zip(rest.par_chunks(n));
    images.enumerate().for_each(|(b, (y, rest))| {
        y[..m].copy_from_slice(&first[b * own..][..m]);
        y[m..].copy_from_slice(rest);
    });
}
