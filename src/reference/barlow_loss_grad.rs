//! Twin of `shaders/barlow_loss_grad.wgsl`.

use super::Scalar;
use super::temperature::Temperature;
use rayon::prelude::*;

/// `dk`, and `dr` from the scores if there are any, from `dloss` [rows]; see `shaders/barlow_loss_grad.wgsl`. `adaptive`: as the loss has it.
#[allow(clippy::too_many_arguments, reason = "mirrors the kernel")]
pub fn barlow_loss_grad<T: Scalar>(
    f: &Temperature<T>,
    d: usize,
    lambda: T,
    (adaptive_on, adaptive_off): (bool, bool),
    constant: [T; 2],
    dloss: &[T],
    k: &[T],
    dk: &mut [T],
    scores: Option<(&[T], &mut [T])>,
) {
    let two = T::of(2.0);
    let diagonal = |at: usize| at % d == at / d % d;
    let constant = |at: usize| constant[usize::from(!diagonal(at))];
    // (dk, dtau) of one element, without the upstream gradient.
    let element = |at: usize, tau: T| {
        let v = k[at];
        if diagonal(at) {
            let on = T::one() - v / tau;
            (
                -two * on / tau,
                two * on * v / (tau * tau) + f.beta * f.omega_slope(tau),
            )
        } else {
            (
                two * lambda * v / tau,
                -(lambda * v * v / (tau * tau) + f.beta * f.omega_slope(tau)),
            )
        }
    };
    match scores {
        None => dk.par_iter_mut().enumerate().for_each(|(at, dk)| {
            *dk = dloss[at / d] * element(at, constant(at)).0;
        }),
        Some((r, dr)) => dk
            .par_iter_mut()
            .zip(dr.par_iter_mut())
            .enumerate()
            .for_each(|(at, (dk, dr))| {
                if if diagonal(at) {
                    adaptive_on
                } else {
                    adaptive_off
                } {
                    let (a, b) = element(at, f.of(r[at]));
                    *dk = dloss[at / d] * a;
                    *dr = dloss[at / d] * b * f.slope(r[at]);
                } else {
                    *dk = dloss[at / d] * element(at, constant(at)).0;
                    *dr = T::zero();
                }
            }),
    }
}
