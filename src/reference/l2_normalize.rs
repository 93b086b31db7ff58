//! Twin of `shaders/l2_normalize.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// Rows of length `d` divided by their norm, or by `eps` where that is larger.
pub fn l2_normalize<T: Scalar>(d: usize, eps: T, x: &[T], y: &mut [T]) {
    y.par_chunks_mut(d).zip(x.par_chunks(d)).for_each(|(y, x)| {
        let norm = x.iter().map(|v| *v * *v).sum::<T>().sqrt().at_least(eps);
        y.iter_mut().zip(x).for_each(|(y, x)| *y = *x / norm);
    });
}
