//! Twin of `shaders/barlow_stream.wgsl`: rows of correlations and scores a few at a time.

use super::Scalar;
use super::barlow_loss::Form;
use super::gemm::{Mat, product};
use super::scratch::{self, split};
use rayon::prelude::*;

/// Rows that are made at a time.
pub const STRIP: usize = 32;

/// What pairs of channels are made of: of the view whose channels are rows, and of the other.
#[derive(Clone, Copy, Debug)]
pub struct Channels<'a, T> {
    /// Standardised columns [heads*n, d].
    pub views: [&'a [T]; 2],
    /// phi's features [score heads*d, f].
    pub features: Option<[&'a [T]; 2]>,
    /// Samples, channels, features.
    pub sizes: [usize; 3],
    /// Heads of the features: as many as there are, or one for all.
    pub score_heads: usize,
}

impl<'a, T: Scalar> Channels<'a, T> {
    /// Head `head` of the views and of the features that belong to it.
    pub fn head(&self, head: usize) -> Self {
        let [n, d, f] = self.sizes;
        let of = |x: &'a [T], head: usize, size: usize| &x[head * size..(head + 1) * size];
        let scored = head.min(self.score_heads - 1);
        Self {
            views: self.views.map(|x| of(x, head, n * d)),
            features: self.features.map(|p| p.map(|x| of(x, scored, d * f))),
            ..*self
        }
    }

    /// Scores of a strip of `rows` channels, as many as correlations or none.
    pub fn scored(&self, rows: usize) -> usize {
        self.features.map_or(0, |_| rows * self.sizes[1])
    }

    /// Correlations `k` [rows,d] of one head's channels from `first` on with all channels of the other view, and, if
    /// there are features, their scores `r` [rows,d].
    pub fn strip(&self, first: usize, k: &mut [T], r: &mut [T]) {
        let [n, d, f] = self.sizes;
        let rows = k.len() / d;
        let mat = |data, rs, cs| Mat { data, rs, cs };
        let [x, y] = self.views;
        let mean = T::one() / T::of(n as f64);
        let (lhs, rhs) = (mat(&x[first..], 1, d), mat(y, d, 1));
        product(rows, d, n, mean, lhs, rhs, k, d, false);
        if let Some([p, q]) = self.features {
            let (lhs, rhs) = (mat(&p[first * f..], f, 1), mat(q, 1, f));
            product(rows, d, f, T::one(), lhs, rhs, r, d, false);
        }
    }
}

/// `loss` [heads*d].
pub fn barlow_stream<T: Scalar>(f: &Form<T>, x: &Channels<'_, T>, loss: &mut [T]) {
    let d = f.d;
    loss.par_chunks_mut(d).enumerate().for_each(|(head, loss)| {
        let x = x.head(head);
        loss.par_chunks_mut(STRIP)
            .enumerate()
            .for_each(|(strip, loss)| {
                let (first, rows) = (strip * STRIP, loss.len());
                let scored = x.scored(rows);
                let mut memory = scratch::local(rows * d + scored);
                let [k, r] = split(&mut memory, [rows * d, scored]);
                x.strip(first, k, r);
                for (i, loss) in loss.iter_mut().enumerate() {
                    let term = |m: usize| {
                        let at = i * d + m;
                        f.term(k[at], r.get(at).copied(), first + i == m)
                    };
                    *loss = (0..d).map(term).sum();
                }
            });
    });
}
