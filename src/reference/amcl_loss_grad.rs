//! Twin of `shaders/amcl_loss_grad.wgsl`.

use super::Scalar;
use super::amcl_loss::{Form, Selection, threshold};
use super::elementwise::{Work, vectorized_work};
use super::scratch;
use rayon::prelude::*;

/// The forward pass's operands and results.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a, T> {
    /// Upstream gradient, per row.
    pub dloss: &'a [T],
    /// Similarities.
    pub s: &'a [T],
    /// Log-sum-exp or 1/k, per row.
    pub norm: &'a [T],
    /// Scores.
    pub scores: Option<&'a [T]>,
    /// Selection.
    pub selection: Selection<'a, T>,
}

/// A row: the form, the loss's gradient and norm, similarities, scores, their gradients.
struct Row<'a, T>(
    &'a Form<T>,
    (T, T),
    &'a [T],
    Option<&'a [T]>,
    &'a mut [T],
    &'a mut [T],
);

impl<T: Scalar> Work for Row<'_, T> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        candidates_grad(self);
    }
}

/// The softmax form's gradient of an anchor's row whose columns all are candidates: `ds` is written, `dr` added to.
#[inline(always)]
fn candidates_grad<T: Scalar>(Row(f, (g, norm), s, scores, ds, dr): Row<'_, T>) {
    let t = &f.temperature;
    match scores.filter(|_| f.adaptive_neg) {
        Some(r) => {
            for (((ds, dr), s), r) in ds.iter_mut().zip(dr).zip(s).zip(r) {
                let tau = t.of(*r);
                let w = (*s / tau - t.beta * t.omega(tau) - norm).exp_of_many();
                *ds = g * w / tau;
                let dtau = g * w * (*s / (tau * tau) + t.beta * t.omega_slope(tau));
                *dr -= dtau * t.slope(*r);
            }
        }
        None => {
            let (tau, reg) = (f.tau_const, t.beta * t.omega(f.tau_const));
            for (ds, s) in ds.iter_mut().zip(s) {
                *ds = g * (*s / tau - reg - norm).exp_of_many() / tau;
            }
        }
    }
}

/// `ds` as s; `dr` as the scores (summed over the heads when these share one).
pub fn amcl_loss_grad<T: Scalar>(
    f: &Form<T>,
    x: &Saved<'_, T>,
    ds: &mut [T],
    dr: Option<&mut [T]>,
) {
    let (c, n) = (&f.candidates, f.n);
    // A row's contribution to ds and dr.
    let row_grad = |row: usize, ds: &mut [T], dr: &mut [T]| {
        let i = row % c.anchors;
        let s = &x.s[row * n..(row + 1) * n];
        let scores = x.scores.map(|r| &r[f.score_row(row) * n..]);
        let (g, norm, limit) = (x.dloss[row], x.norm[row], threshold(x.selection, row));
        let one = |j: usize| {
            // Times it in each role: a pair of none sends nothing to its score, and be that a NaN.
            let slope = scores.map_or(T::zero(), |r| f.temperature.slope(r[j]));
            let (mut d, mut dr) = (T::zero(), T::zero());
            if j == c.positive(i) {
                let t = f.tau(f.adaptive_pos, scores, j);
                d -= g / t;
                if f.adaptive_pos {
                    let dtau =
                        g * (s[j] / (t * t) + f.temperature.beta * f.temperature.omega_slope(t));
                    dr += dtau * slope;
                }
            }
            if c.contains(i, j) {
                let t = f.tau(f.adaptive_neg, scores, j);
                let (w, reg) = f.weights(j, s[j], t, norm, limit);
                d += g * w / t;
                if f.adaptive_neg {
                    dr -= g * (w * s[j] / (t * t) + f.temperature.beta * reg) * slope;
                }
            }
            (d, dr)
        };
        if f.softmax {
            // All as if they were candidates and not the positive, without a branch; then those that are not.
            let others = || c.excluded(i).filter(|j| *j != c.positive(i));
            let all = || others().chain([c.positive(i)]);
            let mut had = [T::zero(); 2];
            had.iter_mut().zip(all()).for_each(|(had, j)| *had = dr[j]);
            vectorized_work(Row(f, (g, norm), s, scores, &mut *ds, &mut *dr));
            for (had, j) in had.into_iter().zip(all()) {
                let (d, r) = one(j);
                (ds[j], dr[j]) = (d, had + r);
            }
        } else {
            for j in 0..n {
                let (d, r) = one(j);
                ds[j] = d;
                dr[j] += r;
            }
        }
    };
    let heads = x.s.len() / n / c.anchors;
    match dr {
        Some(dr) if f.score_heads == heads => {
            dr.par_chunks_mut(n)
                .zip(ds.par_chunks_mut(n))
                .enumerate()
                .for_each(|(row, (dr, ds))| {
                    dr.fill(T::zero());
                    row_grad(row, ds, dr);
                });
        }
        Some(dr) => {
            dr.fill(T::zero());
            for (head, ds) in ds.chunks_mut(c.anchors * n).enumerate() {
                dr.par_chunks_mut(n)
                    .zip(ds.par_chunks_mut(n))
                    .enumerate()
                    .for_each(|(i, (dr, ds))| {
                        row_grad(head * c.anchors + i, ds, dr);
                    });
            }
        }
        None => ds.par_chunks_mut(n).enumerate().for_each(|(row, ds)| {
            let mut unused = scratch::local(n);
            row_grad(row, ds, &mut unused);
        }),
    }
}
