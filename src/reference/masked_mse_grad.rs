//! Twin of `shaders/masked_mse_grad.wgsl`.

use super::Scalar;
use super::masked_mse::weight;
use rayon::prelude::*;

/// `dpred = 2/d w dy (pred - target)` for rows of length `d`.
pub fn masked_mse_grad<T: Scalar>(
    (d, invert): (usize, bool),
    [pred, target, mask, dy]: [&[T]; 4],
    dpred: &mut [T],
) {
    let rows = pred.par_chunks(d).zip(target.par_chunks(d));
    let rows = rows.zip(mask.par_iter().zip(dy)).with_min_len(64);
    rows.zip(dpred.par_chunks_mut(d))
        .for_each(|(((pred, target), (mask, dy)), out)| {
            let factor = T::of(2.0) * weight(*mask, invert) * *dy / T::of(d as f64);
            let all = out.iter_mut().zip(pred).zip(target);
            all.for_each(|((out, p), t)| *out = factor * (*p - *t));
        });
}
