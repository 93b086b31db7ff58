//! Twin of `shaders/barlow_loss_grad.wgsl`.

use super::Scalar;
use super::barlow_loss::Form;
use rayon::prelude::*;

/// `dk`, and `dr` from the scores if there are any, from `dloss` [rows].
pub fn barlow_loss_grad<T: Scalar>(
    f: &Form<T>,
    dloss: &[T],
    k: &[T],
    dk: &mut [T],
    scores: Option<(&[T], &mut [T])>,
) {
    let d = f.d;
    let slopes = |at: usize, score| f.slopes(k[at], score, at % d == at / d % d);
    match scores {
        None => dk.par_iter_mut().enumerate().for_each(|(at, dk)| {
            *dk = dloss[at / d] * slopes(at, None).0;
        }),
        Some((r, dr)) => dk
            .par_iter_mut()
            .zip(dr.par_iter_mut())
            .enumerate()
            .for_each(|(at, (dk, dr))| {
                let (a, b) = slopes(at, Some(r[at]));
                *dk = dloss[at / d] * a;
                *dr = dloss[at / d] * b;
            }),
    }
}
