//! Twin of `shaders/take_tokens.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// For each image of x [images,n,d] the tokens that `index` [images,m] names; where it names none of the n, `fill` [d]
/// or zeros.
pub fn take_tokens<T: Scalar>(
    (m, n, d): (usize, usize, usize),
    x: &[T],
    index: &[u32],
    fill: Option<&[T]>,
    y: &mut [T],
) {
    let images = y.par_chunks_mut(m * d).zip(x.par_chunks(n * d));
    images.zip(index.par_chunks(m)).for_each(|((y, x), index)| {
        for (y, i) in y.chunks_exact_mut(d).zip(index) {
            match (x.chunks_exact(d).nth(*i as usize), fill) {
                (Some(x), _) => y.copy_from_slice(x),
                (None, Some(fill)) => y.copy_from_slice(fill),
                (None, None) => y.fill(T::zero()),
            }
        }
    });
}
