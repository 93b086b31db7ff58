//! Twin of `shaders/barlow_loss.wgsl`.

use super::Scalar;
use super::temperature::Temperature;
use rayon::prelude::*;

/// Terms of each row of the cross-correlations k [rows,d], summed; `scores` alike give the temperatures of those elements, on or off the diagonal, that `adaptive` says
/// (else: `constant`, without Omega).
#[allow(clippy::too_many_arguments, reason = "mirrors the kernel")]
pub fn barlow_loss<T: Scalar>(
    f: &Temperature<T>,
    d: usize,
    lambda: T,
    (adaptive_on, adaptive_off): (bool, bool),
    constant: [T; 2],
    k: &[T],
    scores: Option<&[T]>,
    loss: &mut [T],
) {
    loss.par_iter_mut().enumerate().for_each(|(row, loss)| {
        *loss = (0..d)
            .map(|m| {
                let v = k[row * d + m];
                let diagonal = m == row % d;
                let own = if diagonal { adaptive_on } else { adaptive_off };
                let scores = scores.filter(|_| own);
                let tau = scores.map_or(constant[usize::from(!diagonal)], |r| f.of(r[row * d + m]));
                let reg = scores.map_or(T::zero(), |_| f.beta * f.omega(tau));
                if diagonal {
                    let on = T::one() - v / tau;
                    on * on + reg
                } else {
                    lambda * v * v / tau - reg
                }
            })
            .sum();
    });
}
