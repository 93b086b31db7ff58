//! Twin of `shaders/amcl_stream_grad.wgsl`.

use super::Scalar;
use super::amcl_loss::{Form, threshold};
use super::amcl_stream::{Anchors, Rows, STRIP, count, products, strip};
use super::elementwise::{Work, sum_in_lanes, vectorized, vectorized_work};
use super::gemm::{Mat, product};
use super::scratch::{self, split};
use rayon::prelude::*;

/// Where the gradients go.
pub struct Gradients<'a, T> {
    /// Of z's rows.
    pub dz: &'a mut [T],
    /// Of the features' (summed over the heads when these share one).
    pub df: Option<&'a mut [T]>,
    /// Of the gain, and of the mean of each score head: half of what the anchors' pairs send, as i's and as j's.
    pub centre: Option<(&'a mut T, &'a mut [T])>,
}

/// The gradients of these anchors' rows, from `dloss` and `norm` [heads*n] of all.
pub fn amcl_stream_grad<T: Scalar>(
    f: &Form<T>,
    x: &Rows<'_, T>,
    anchors: &Anchors,
    (dloss, norm): (&[T], &[T]),
    to: Gradients<'_, T>,
) {
    let Gradients {
        dz,
        mut df,
        mut centre,
    } = to;
    let gain = x.centre.as_ref().map_or(T::one(), |c| c.gain);
    // Of each strip of a run of a head: the sum of what pairs send to their scores, and of that times the score's slope
    // by the gain.
    let strips: usize = anchors.iter().map(|run| run.len().div_ceil(STRIP)).sum();
    let mut memory = scratch::shared(2 * strips);
    let of_strips: &mut [T] = &mut memory;
    let mut dgain = T::zero();
    let (n, d, own) = (f.n, x.d, count(anchors));
    if let Some(df) = &mut df {
        df.fill(T::zero());
    }
    for (head, mut dz) in dz.chunks_mut(own * d).enumerate() {
        let x = x.head(f, head);
        let of_head = head * n..(head + 1) * n;
        let (g, norm) = (&dloss[of_head.clone()], &norm[of_head]);
        // The weights of all pairs of a strip of rows, times all rows.
        let of_rows = |first: usize, dz: &mut [T], df: Option<&mut [T]>, sums: &mut [T]| {
            sums.fill(T::zero());
            let rows = dz.len() / d;
            let scored = x.features.map_or(0, |_| strip(n));
            let mut memory = scratch::local(strip(n) + scored + n);
            let [w, v, by_gain] = split(&mut memory, [strip(n), scored, n]);
            let w = products(x.z, d, first..first + rows, w);
            let v = match x.features {
                Some(p) => products(p, d, first..first + rows, v),
                None => v,
            };
            for i in 0..rows {
                let row = i * n..(i + 1) * n;
                let w = &mut w[row.clone()];
                let mut v = x.features.map(|_| &mut v[row]);
                if let (Some(v), true) = (v.as_deref_mut(), x.centre.is_some()) {
                    vectorized(|| {
                        let all = v.iter_mut().zip(by_gain.iter_mut());
                        all.for_each(|(v, by_gain)| (*v, *by_gain) = x.score(*v));
                    });
                }
                pairs(f, &x, first + i, w, v.as_deref_mut(), (g, norm));
                if let (Some(v), true) = (v, x.centre.is_some()) {
                    vectorized(|| {
                        sums[0] += sum_in_lanes(v);
                        let all = v.iter_mut().zip(by_gain.iter_mut());
                        all.for_each(|(v, by_gain)| {
                            *by_gain *= *v;
                            *v *= gain;
                        });
                        sums[1] += sum_in_lanes(by_gain);
                    });
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
        let mut sums = &mut *of_strips;
        for run in anchors {
            let (of_run, rest) = dz.split_at_mut(run.len() * d);
            let (sums_of_run, other_sums) = sums.split_at_mut(2 * run.len().div_ceil(STRIP));
            let strips = of_run
                .par_chunks_mut(STRIP * d)
                .zip(sums_of_run.par_chunks_mut(2))
                .enumerate();
            let first = |k: usize| run.start + k * STRIP;
            df = match df {
                Some(df) => {
                    let (df, behind) = df.split_at_mut(run.len() * d);
                    let both = strips.zip(df.par_chunks_mut(STRIP * d));
                    both.for_each(|((k, (dz, sums)), df)| of_rows(first(k), dz, Some(df), sums));
                    Some(behind)
                }
                None => {
                    strips.for_each(|(k, (dz, sums))| of_rows(first(k), dz, None, sums));
                    None
                }
            };
            (dz, sums) = (rest, other_sums);
        }
        if let Some((_, of_means)) = &mut centre {
            // A pair is counted as i's and as j's, so twice.
            let half = T::of(0.5);
            let of_head: T = of_strips.iter().step_by(2).copied().sum();
            let scored = head.min(f.score_heads - 1);
            if scored == head {
                of_means[scored] = T::zero();
            }
            of_means[scored] -= half * gain * of_head;
            dgain += half * of_strips.iter().skip(1).step_by(2).copied().sum::<T>();
        }
    }
    if let Some((of_gain, _)) = centre {
        *of_gain = dgain;
    }
}

/// What i's pairs, as its own and as the others', send to the similarities w and to the scores v, in their place.
fn pairs<T: Scalar>(
    f: &Form<T>,
    x: &Rows<'_, T>,
    i: usize,
    w: &mut [T],
    v: Option<&mut [T]>,
    (g, norm): (&[T], &[T]),
) {
    let one = |j: usize, w: &[T], v: &Option<&mut [T]>| {
        pair(f, x, (i, j), w[j], v.as_ref().map(|v| v[j]), (g, norm))
    };
    let put = |j: usize, (dw, dv): (T, T), w: &mut [T], v: &mut Option<&mut [T]>| {
        w[j] = dw;
        if let Some(v) = v {
            v[j] = dv;
        }
    };
    let (c, mut v) = (&f.candidates, v);
    if f.softmax {
        // All as if they were candidates and not the positive, without a branch; then those that are not.
        let others = || c.excluded(i).filter(|j| *j != c.positive(i));
        let all = || others().chain([c.positive(i)]);
        let mut apart = [(T::zero(), T::zero()); 2];
        for (to, j) in apart.iter_mut().zip(all()) {
            *to = one(j, w, &v);
        }
        vectorized_work(Row(f, i, &mut *w, v.as_deref_mut(), (g, norm)));
        for (from, j) in apart.into_iter().zip(all()) {
            put(j, from, w, &mut v);
        }
    } else {
        for j in 0..w.len() {
            put(j, one(j, w, &v), w, &mut v);
        }
    }
}

/// What a row of pairs is made of: the form, i, similarities, scores, and g and norm of all.
struct Row<'a, T>(
    &'a Form<T>,
    usize,
    &'a mut [T],
    Option<&'a mut [T]>,
    (&'a [T], &'a [T]),
);

impl<T: Scalar> Work for Row<'_, T> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        pairs_grad(self);
    }
}

/// [`pairs`] of the softmax form where all columns are candidates.
#[inline(always)]
fn pairs_grad<T: Scalar>(Row(f, i, w, v, (g, norm)): Row<'_, T>) {
    let (t, own, own_norm) = (&f.temperature, g[i], norm[i]);
    // The weights of a pair of similarity s as i's and as j's, each times its loss's gradient.
    let weight = |s: T, (tau, reg): (T, T), (of_g, of_norm): (T, T)| {
        let logit = s / tau - reg;
        own * (logit - own_norm).exp_of_many() + of_g * (logit - of_norm).exp_of_many()
    };
    let constant = (f.tau_const, t.beta * t.omega(f.tau_const));
    let all = w.iter_mut().zip(g.iter().zip(norm));
    match v {
        Some(v) if f.adaptive_neg => {
            for ((w, (g, norm)), v) in all.zip(v) {
                let (s, tau) = (*w, t.of(*v));
                let e = weight(s, (tau, t.beta * t.omega(tau)), (*g, *norm));
                *w = e / tau;
                *v = -e * (s / (tau * tau) + t.beta * t.omega_slope(tau)) * t.slope(*v);
            }
        }
        _ => {
            for (w, (g, norm)) in all {
                *w = weight(*w, constant, (*g, *norm)) / constant.0;
            }
            if let Some(v) = v {
                v.fill(T::zero());
            }
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
    // Times it in each role: a pair of none sends nothing to its score, and be that a NaN.
    let slope = score.map_or(T::zero(), |r| t.slope(r));
    let (mut w, mut v) = (T::zero(), T::zero());
    if j == c.positive(i) {
        let tau = tau(f.adaptive_pos);
        w -= (g[i] + g[j]) / tau;
        if f.adaptive_pos {
            v += (g[i] + g[j]) * (s / (tau * tau) + t.beta * t.omega_slope(tau)) * slope;
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
            v -= (e * s / (tau * tau) + t.beta * reg) * slope;
        }
    }
    (w, v)
}
