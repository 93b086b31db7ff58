//! Twin of `shaders/barlow_loss_grad.wgsl`.

use super::Scalar;
use super::barlow_loss::Form;
use super::elementwise::{Work, vectorized_work};
use rayon::prelude::*;

/// A row: the form, its correlations, its loss's gradient, its column on the diagonal, where its gradient goes, its
/// scores and theirs.
struct Row<'a, T>(
    &'a Form<T>,
    &'a [T],
    T,
    usize,
    &'a mut [T],
    Option<(&'a [T], &'a mut [T])>,
);

impl<T: Scalar> Work for Row<'_, T> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        row_grad(self);
    }
}

/// A row as if it lay off the diagonal, without a branch; then the element that does not.
#[inline(always)]
fn row_grad<T: Scalar>(Row(f, k, up, diagonal, dk, scores): Row<'_, T>) {
    match scores {
        None => {
            for (dk, k) in dk.iter_mut().zip(k) {
                *dk = up * f.slopes(*k, None, false).0;
            }
            dk[diagonal] = up * f.slopes(k[diagonal], None, true).0;
        }
        Some((r, dr)) => {
            for (((dk, dr), k), r) in dk.iter_mut().zip(dr.iter_mut()).zip(k).zip(r) {
                let (a, b) = f.slopes(*k, Some(*r), false);
                (*dk, *dr) = (up * a, up * b);
            }
            let (a, b) = f.slopes(k[diagonal], Some(r[diagonal]), true);
            (dk[diagonal], dr[diagonal]) = (up * a, up * b);
        }
    }
}

/// `dk`, and `dr` from the scores if there are any, from `dloss` [rows].
pub fn barlow_loss_grad<T: Scalar>(
    f: &Form<T>,
    dloss: &[T],
    k: &[T],
    dk: &mut [T],
    scores: Option<(&[T], &mut [T])>,
) {
    let d = f.d;
    let one = |row: usize, dk: &mut [T], scores: Option<(&[T], &mut [T])>| {
        let k = &k[row * d..(row + 1) * d];
        vectorized_work(Row(f, k, dloss[row], row % d, dk, scores));
    };
    let rows = dk.par_chunks_mut(d).enumerate();
    match scores {
        None => rows.for_each(|(row, dk)| one(row, dk, None)),
        Some((r, dr)) => rows
            .zip(dr.par_chunks_mut(d))
            .for_each(|((row, dk), dr)| one(row, dk, Some((&r[row * d..(row + 1) * d], dr)))),
    }
}
