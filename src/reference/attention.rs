//! Twin of `shaders/attention.wgsl`.

use super::Scalar;
use super::elementwise::vectorized;
use super::gemm::{Mat, product};
use super::scratch;
use rayon::prelude::*;
use std::ops::Range;

/// Queries of a head whose logits are made at a time, at most: with those of 197 keys they lie in a core's own cache.
const STRIP: usize = 128;
/// Sums that run side by side, so that they are compiled to vectors.
const LANES: usize = 16;

/// Shape of an attention over qkv [images,tokens,3,heads,width].
#[derive(Clone, Copy, Debug)]
pub struct Heads<T> {
    /// Tokens of an image.
    pub tokens: usize,
    /// Heads.
    pub heads: usize,
    /// Columns of a head.
    pub width: usize,
    /// Factor of the logits.
    pub scale: T,
}

impl<T: Scalar> Heads<T> {
    /// Numbers of a token, over all heads.
    pub(super) fn dim(&self) -> usize {
        self.heads * self.width
    }

    /// Strips of queries, of lengths that differ by one at most.
    pub(super) fn strips(&self) -> impl Iterator<Item = Range<usize>> {
        let (n, count) = (self.tokens, self.tokens.div_ceil(STRIP));
        (0..count).map(move |i| i * n / count..(i + 1) * n / count)
    }

    /// Elements of a strip's logits.
    pub(super) fn strip(&self) -> usize {
        self.tokens.min(STRIP) * self.tokens
    }

    /// Rows from number `first` on, of one head's queries (0), keys (1) or values (2) in an image's qkv.
    pub(super) fn operand<'a>(
        &self,
        qkv: &'a [T],
        which: usize,
        head: usize,
        first: usize,
    ) -> Mat<'a, T> {
        let d = self.dim();
        Mat {
            data: &qkv[first * 3 * d + which * d + head * self.width..],
            rs: 3 * d,
            cs: 1,
        }
    }

    /// The logits of a strip of queries with all keys into `s` [rows,tokens].
    pub(super) fn logits(&self, qkv: &[T], head: usize, rows: Range<usize>, s: &mut [T]) {
        let n = self.tokens;
        let q = self.operand(qkv, 0, head, rows.start);
        let k = transposed(self.operand(qkv, 1, head, 0));
        product(rows.len(), n, self.width, self.scale, q, k, s, n, false);
    }

    /// `o` [images,tokens,heads,width] and `lse` [images,heads,tokens]. A task takes an image.
    pub fn attention(&self, qkv: &[T], o: &mut [T], lse: &mut [T]) {
        let (n, d) = (self.tokens, self.dim());
        let images = o.par_chunks_mut(n * d).zip(qkv.par_chunks(n * 3 * d));
        let images = images.zip(lse.par_chunks_mut(self.heads * n));
        images.for_each(|((o, qkv), lse)| {
            let mut s = scratch::local::<T>(self.strip());
            for (head, lse) in lse.chunks_mut(n).enumerate() {
                for rows in self.strips() {
                    let s = &mut s[..rows.len() * n];
                    self.logits(qkv, head, rows.clone(), s);
                    let lse = &mut lse[rows.clone()];
                    vectorized(|| {
                        let of_rows = s.chunks_exact_mut(n).zip(lse);
                        of_rows.for_each(|(s, lse)| *lse = softmax(s));
                    });
                    let to = &mut o[rows.start * d + head * self.width..];
                    let (w, v) = (matrix(s, n), self.operand(qkv, 2, head, 0));
                    product(rows.len(), self.width, n, T::one(), w, v, to, d, false);
                }
            }
        });
    }
}

/// A matrix of `n` columns.
pub(super) fn matrix<T>(data: &[T], n: usize) -> Mat<'_, T> {
    Mat { data, rs: n, cs: 1 }
}

/// The same with rows as columns.
pub(super) fn transposed<T>(m: Mat<'_, T>) -> Mat<'_, T> {
    Mat {
        data: m.data,
        rs: m.cs,
        cs: m.rs,
    }
}

/// A row's shares in place of its logits; the logarithm of the sum of their exponentials.
#[inline(always)]
fn softmax<T: Scalar>(s: &mut [T]) -> T {
    let most = in_lanes(s, T::neg_infinity(), |a, b| if b > a { b } else { a });
    s.iter_mut().for_each(|v| *v = (*v - most).exp_of_many());
    let total = in_lanes(s, T::zero(), |a, b| a + b);
    let inverse = T::one() / total;
    s.iter_mut().for_each(|v| *v *= inverse);
    most + total.ln()
}

/// What `f` makes of all elements, in [`LANES`] interleaved lanes from `start` on, which it joins in order.
#[inline(always)]
fn in_lanes<T: Scalar>(x: &[T], start: T, f: impl Fn(T, T) -> T) -> T {
    let mut lanes = [start; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for v in whole {
        lanes.iter_mut().zip(v).for_each(|(l, v)| *l = f(*l, *v));
    }
    lanes.iter_mut().zip(rest).for_each(|(l, v)| *l = f(*l, *v));
    lanes.into_iter().fold(start, f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the definition, over several strips.
    #[test]
    fn equals_the_definition() {
        let (images, heads) = (2, 3);
        for (tokens, width) in [(1, 4), (5, 3), (131, 2)] {
            let h = Heads {
                tokens,
                heads,
                width,
                scale: 0.7,
            };
            let (n, d) = (tokens, heads * width);
            let at = |b: usize, i: usize, which: usize, head: usize, c: usize| {
                ((b * n + i) * 3 + which) * d + head * width + c
            };
            let qkv: Vec<f64> = (0..images * n * 3 * d)
                .map(|i| (i as f64 * 0.37).sin())
                .collect();
            let (mut o, mut lse) = (vec![0.0; images * n * d], vec![0.0; images * heads * n]);
            h.attention(&qkv, &mut o, &mut lse);
            for (b, head) in (0..images).flat_map(|b| (0..heads).map(move |h| (b, h))) {
                for i in 0..n {
                    let logit = |j: usize| {
                        let dot = |c| qkv[at(b, i, 0, head, c)] * qkv[at(b, j, 1, head, c)];
                        0.7 * (0..width).map(dot).sum::<f64>()
                    };
                    let total: f64 = (0..n).map(|j| logit(j).exp()).sum();
                    assert!((lse[(b * heads + head) * n + i] - total.ln()).abs() < 1e-12);
                    for c in 0..width {
                        let value = |j: usize| logit(j).exp() / total * qkv[at(b, j, 2, head, c)];
                        let want: f64 = (0..n).map(value).sum();
                        let got = o[(b * n + i) * d + head * width + c];
                        assert!((got - want).abs() < 1e-12, "{tokens} {width}: {got} {want}");
                    }
                }
            }
        }
    }
}
