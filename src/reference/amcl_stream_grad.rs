//! Twin of `shaders/amcl_stream_grad.wgsl`.

use super::Scalar;
use super::amcl_loss::{Form, threshold};
use super::amcl_stream::{Anchors, Rows, STRIP, count, products, strip};
use super::gemm::{Mat, product};
use super::scratch::{self, split};
use rayon::prelude::*;

/// The gradients of these anchors' rows: `dz` of z's, and `df` of the features' (summed over the heads when these share
/// one), from `dloss` and `norm` [heads*n] of all.
pub fn amcl_stream_grad<T: Scalar>(
    f: &Form<T>,
    x: &Rows<'_, T>,
    anchors: &Anchors,
    (dloss, norm): (&[T], &[T]),
    dz: &mut [T],
    mut df: Option<&mut [T]>,
) {
    let (n, d, own) = (f.n, x.d, count(anchors));
    if let Some(df) = &mut df {
        df.fill(T::zero());
    }
    for (head, mut dz) in dz.chunks_mut(own * d).enumerate() {
        let x = x.head(f, head);
        let of_head = head * n..(head + 1) * n;
        let (g, norm) = (&dloss[of_head.clone()], &norm[of_head]);
        // The weights of all pairs of a strip of rows, times all rows.
        let of_rows = |first: usize, dz: &mut [T], df: Option<&mut [T]>| {
            let rows = dz.len() / d;
            let scored = x.features.map_or(0, |_| strip(n));
            let mut memory = scratch::local(strip(n) + scored);
            let [w, v] = split(&mut memory, [strip(n), scored]);
            let w = products(x.z, d, first..first + rows, w);
            let v = match x.features {
                Some(p) => products(p, d, first..first + rows, v),
                None => v,
            };
            for i in 0..rows {
                for j in 0..n {
                    let at = i * n + j;
                    let score = x.features.map(|_| v[at]);
                    let (dw, dv) = pair(f, &x, (first + i, j), w[at], score, (g, norm));
                    w[at] = dw;
                    if scored > 0 {
                        v[at] = dv;
                    }
                }
            }
            let times = |weights: &[T], of: &[T], out: &mut [T], add: bool| {
                let row_major = |data, rs| Mat { data, rs, cs: 1 };
                let (lhs, rhs) = (row_major(weights, n), row_major(of, d));
                product(rows, d, n, T::one(), lhs, rhs, out, d, add);
            };
            times(w, x.z, dz, false);
            if let (Some(p), Some(df)) = (x.features, df) {
                times(v, p, df, true);
            }
        };
        let of_head = head.min(f.score_heads - 1) * own * d;
        let mut df = df
            .as_deref_mut()
            .map(|df| &mut df[of_head..of_head + own * d]);
        for run in anchors {
            let (of_run, rest) = dz.split_at_mut(run.len() * d);
            let strips = of_run.par_chunks_mut(STRIP * d).enumerate();
            let first = |k: usize| run.start + k * STRIP;
            df = match df {
                Some(df) => {
                    let (df, behind) = df.split_at_mut(run.len() * d);
                    let both = strips.zip(df.par_chunks_mut(STRIP * d));
                    both.for_each(|((k, dz), df)| of_rows(first(k), dz, Some(df)));
                    Some(behind)
                }
                None => {
                    strips.for_each(|(k, dz)| of_rows(first(k), dz, None));
                    None
                }
            };
            dz = rest;
        }
    }
}

/// What the pair (i,j), as i's and as j's, sends to the similarity and to the score.
fn pair<T: Scalar>(
    f: &Form<T>,
    x: &Rows<'_, T>,
    (i, j): (usize, usize),
    s: T,
    score: Option<T>,
    (g, norm): (&[T], &[T]),
) -> (T, T) {
    let (c, t) = (&f.candidates, &f.temperature);
    let tau = |adaptive: bool| match score {
        Some(r) if adaptive => t.of(r),
        _ => f.tau_const,
    };
    let (mut w, mut dtau) = (T::zero(), T::zero());
    if j == c.positive(i) {
        let tau = tau(f.adaptive_pos);
        w -= (g[i] + g[j]) / tau;
        if f.adaptive_pos {
            dtau += (g[i] + g[j]) * (s / (tau * tau) + t.beta * t.omega_slope(tau));
        }
    }
    if c.contains(i, j) {
        let tau = tau(f.adaptive_neg);
        let of = |anchor: usize, column: usize| {
            let limit = threshold(x.selection, anchor);
            f.weights(column, s, tau, norm[anchor], limit)
        };
        let ((wi, ri), (wj, rj)) = (of(i, j), of(j, i));
        let (e, reg) = (g[i] * wi + g[j] * wj, g[i] * ri + g[j] * rj);
        w += e / tau;
        if f.adaptive_neg {
            dtau -= e * s / (tau * tau) + t.beta * reg;
        }
    }
    (w, score.map_or(T::zero(), |r| dtau * t.slope(r)))
}
