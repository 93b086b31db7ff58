//! Twin of `shaders/barlow_stream_grad.wgsl`.

use super::Scalar;
use super::barlow_loss::Form;
use super::barlow_stream::{Channels, STRIP};
use super::gemm::{Mat, product};
use super::scratch::{self, split};
use rayon::prelude::*;

/// `dx` in the first view's shape, and `df` in its features' (summed over the heads when these share one), from `dloss`
/// [heads*d]. `dloss` belongs to the channels of the first view or, with `by_column`, of the other.
pub fn barlow_stream_grad<T: Scalar>(
    form: &Form<T>,
    x: &Channels<'_, T>,
    by_column: bool,
    dloss: &[T],
    dx: &mut [T],
    mut df: Option<&mut [T]>,
) {
    let [n, d, f] = x.sizes;
    if let Some(df) = &mut df {
        df.fill(T::zero());
    }
    for (head, dx) in dx.chunks_mut(n * d).enumerate() {
        let x = x.head(head);
        let g = &dloss[head * d..(head + 1) * d];
        // Weights of all pairs of a strip of channels with the other view's channels, times these channels: rows of
        // dx's transpose, and of df.
        let strip = |first: usize, dx: &mut [T], df: Option<&mut [T]>| {
            let rows = dx.len() / n;
            let scored = x.scored(rows);
            let mut memory = scratch::local(rows * d + scored);
            let [w, v] = split(&mut memory, [rows * d, scored]);
            x.strip(first, w, v);
            for i in 0..rows {
                for j in 0..d {
                    let at = i * d + j;
                    let up = g[if by_column { j } else { first + i }];
                    let score = v.get(at).copied();
                    let (dw, dv) = form.slopes(w[at], score, first + i == j);
                    w[at] = up * dw;
                    if let Some(v) = v.get_mut(at) {
                        *v = up * dv;
                    }
                }
            }
            let mat = |data, rs, cs| Mat { data, rs, cs };
            let mean = T::one() / T::of(n as f64);
            let (lhs, rhs) = (mat(w, d, 1), mat(x.views[1], 1, d));
            product(rows, n, d, mean, lhs, rhs, dx, n, false);
            if let (Some([_, q]), Some(df)) = (x.features, df) {
                let (lhs, rhs) = (mat(v, d, 1), mat(q, f, 1));
                product(rows, f, d, T::one(), lhs, rhs, df, f, true);
            }
        };
        let mut memory = scratch::shared(d * n);
        let by_channel: &mut [T] = &mut memory;
        match &mut df {
            Some(df) => {
                let at = head.min(x.score_heads - 1) * d * f;
                by_channel
                    .par_chunks_mut(STRIP * n)
                    .zip(df[at..at + d * f].par_chunks_mut(STRIP * f))
                    .enumerate()
                    .for_each(|(k, (dx, df))| strip(k * STRIP, dx, Some(df)));
            }
            None => by_channel
                .par_chunks_mut(STRIP * n)
                .enumerate()
                .for_each(|(k, dx)| strip(k * STRIP, dx, None)),
        }
        let by_channel = &*by_channel;
        dx.par_chunks_mut(d).enumerate().for_each(|(sample, dx)| {
            for (channel, dx) in dx.iter_mut().enumerate() {
                *dx = by_channel[channel * n + sample];
            }
        });
    }
}
