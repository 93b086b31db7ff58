//! Twin of `shaders/barlow_loss_grad.wgsl`.

use super::Scalar;
use super::barlow_loss::Form;
use super::elementwise::vectorized;
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
    // A row as if it lay off the diagonal, without a branch; then the element that does not.
    let row_grad = |row: usize, dk: &mut [T], scores: Option<(&[T], &mut [T])>| {
        let (k, up, diagonal) = (&k[row * d..(row + 1) * d], dloss[row], row % d);
        vectorized(|| match scores {
            None => {
                let slope = |k: T, on: bool| up * f.slopes(k, None, on).0;
                dk.iter_mut()
                    .zip(k)
                    .for_each(|(dk, k)| *dk = slope(*k, false));
                dk[diagonal] = slope(k[diagonal], true);
            }
            Some((r, dr)) => {
                let slopes = |k: T, r: T, on: bool| {
                    let (a, b) = f.slopes(k, Some(r), on);
                    (up * a, up * b)
                };
                let all = dk.iter_mut().zip(dr.iter_mut()).zip(k).zip(r);
                all.for_each(|(((dk, dr), k), r)| (*dk, *dr) = slopes(*k, *r, false));
                (dk[diagonal], dr[diagonal]) = slopes(k[diagonal], r[diagonal], true);
            }
        });
    };
    let rows = dk.par_chunks_mut(d).enumerate();
    match scores {
        None => rows.for_each(|(row, dk)| row_grad(row, dk, None)),
        Some((r, dr)) => rows
            .zip(dr.par_chunks_mut(d))
            .for_each(|((row, dk), dr)| row_grad(row, dk, Some((&r[row * d..(row + 1) * d], dr)))),
    }
}
