//! Twin of `shaders/masked_mse.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// A row's weight: its mask's, or what is missing to 1.
#[inline(always)]
pub(super) fn weight<T: Scalar>(mask: T, invert: bool) -> T {
    if invert { T::one() - mask } else { mask }
}

/// The weighted mean square error of every row of length `d`.
pub fn masked_mse<T: Scalar>(
    (d, invert): (usize, bool),
    pred: &[T],
    target: &[T],
    mask: &[T],
    y: &mut [T],
) {
    let rows = pred.par_chunks(d).zip(target.par_chunks(d));
    let rows = rows.zip(y.par_iter_mut().zip(mask)).with_min_len(64);
    rows.for_each(|((pred, target), (y, mask))| {
        let square = |(p, t): (&T, &T)| (*p - *t) * (*p - *t);
        let sum: T = pred.iter().zip(target).map(square).sum();
        *y = weight(*mask, invert) * sum / T::of(d as f64);
    });
}
