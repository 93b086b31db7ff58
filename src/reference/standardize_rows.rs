//! Twin of `shaders/standardize_rows.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// Rows of length `d` less their mean, over their deviation (unbiased variance plus `eps`).
pub fn standardize_rows<T: Scalar>(d: usize, eps: T, x: &[T], y: &mut [T]) {
    let n = T::of(d as f64);
    y.par_chunks_mut(d).zip(x.par_chunks(d)).for_each(|(y, x)| {
        let mean = x.iter().copied().sum::<T>() / n;
        y.iter_mut().zip(x).for_each(|(y, x)| *y = *x - mean);
        let delta = y.iter().copied().sum::<T>() / n;
        y.iter_mut().for_each(|y| *y -= delta);
        let square: T = y.iter().map(|y| *y * *y).sum();
        let inverse = T::one() / (square / (n - T::one()) + eps).sqrt();
        y.iter_mut().for_each(|y| *y *= inverse);
    });
}
