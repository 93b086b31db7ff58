//! Twin of `shaders/drop_path.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// `y[b] = x[b] + s[b] branch[b]`, or without x its second term.
pub fn drop_path<T: Scalar>(x: Option<&[T]>, branch: &[T], s: &[T], y: &mut [T]) {
    let row = y.len() / s.len().max(1);
    let images = y
        .par_chunks_mut(row.max(1))
        .zip(branch.par_chunks(row.max(1)));
    images.zip(s).enumerate().for_each(|(b, ((y, branch), s))| {
        y.iter_mut().zip(branch).for_each(|(y, v)| *y = *v * *s);
        if let Some(x) = x {
            y.iter_mut().zip(&x[b * row..]).for_each(|(y, x)| *y += *x);
        }
    });
}
