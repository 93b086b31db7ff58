//! Twin of `shaders/barlow_loss.wgsl`.

use super::Scalar;
use super::temperature::Temperature;
use rayon::prelude::*;

/// Terms of each row of the cross-correlations k [rows,d], summed; `scores` alike give the temperatures (none: 1, without Omega).
pub fn barlow_loss<T: Scalar>(
    f: &Temperature<T>,
    d: usize,
    lambda: T,
    k: &[T],
    scores: Option<&[T]>,
    loss: &mut [T],
) {
    loss.par_iter_mut().enumerate().for_each(|(row, loss)| {
        *loss = (0..d)
            .map(|m| {
                let v = k[row * d + m];
                let tau = scores.map_or(T::one(), |r| f.of(r[row * d + m]));
                let reg = scores.map_or(T::zero(), |_| f.beta * f.omega(tau));
                if m == row % d {
                    let on = T::one() - v / tau;
                    on * on + reg
                } else {
                    lambda * v * v / tau - reg
                }
            })
            .sum();
    });
}
