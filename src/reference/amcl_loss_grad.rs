//! Twin of `shaders/amcl_loss_grad.wgsl`.

use super::Scalar;
use super::amcl_loss::{Form, Selection, threshold};
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
        for j in 0..n {
            let slope = scores.map_or(T::zero(), |r| f.temperature.slope(r[j]));
            let (mut d, mut dtau) = (T::zero(), T::zero());
            if j == c.positive(i) {
                let t = f.tau(f.adaptive_pos, scores, j);
                d -= g / t;
                if f.adaptive_pos {
                    dtau +=
                        g * (s[j] / (t * t) + f.temperature.beta * f.temperature.omega_slope(t));
                }
            }
            if c.contains(i, j) {
                let t = f.tau(f.adaptive_neg, scores, j);
                let (w, reg) = f.weights(j, s[j], t, norm, limit);
                d += g * w / t;
                if f.adaptive_neg {
                    dtau -= g * (w * s[j] / (t * t) + f.temperature.beta * reg);
                }
            }
            ds[j] = d;
            dr[j] += dtau * slope;
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
