//! Twin of `shaders/amcl_stream.wgsl`: rows of similarities and scores a few at a time.

use super::Scalar;
use super::amcl_loss::{Form, Selection, threshold};
use super::gemm::{Mat, product};
use super::scratch::{self, split};
use rayon::prelude::*;
use std::ops::Range;

/// Rows that are made at a time.
pub const STRIP: usize = 32;

/// How the scores of pairs are centred: `r = gain (x - mean) + offset` of a product x of features.
#[derive(Clone, Copy, Debug)]
pub struct Centre<'a, T> {
    /// The gain.
    pub gain: T,
    /// The mean product of each score head.
    pub mean: &'a [T],
    /// The score at the mean.
    pub offset: T,
}

/// What pairs are made of.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    /// Unit rows [heads*anchors, d].
    pub z: &'a [T],
    /// phi's features [score heads*anchors, d].
    pub features: Option<&'a [T]>,
    /// Their width.
    pub d: usize,
    /// How scores are centred, if they are.
    pub centre: Option<Centre<'a, T>>,
    /// Thresholds of the anchors [heads*anchors].
    pub selection: Selection<'a, T>,
}

/// The anchors of a head that are computed, as runs of rows one behind the other; results hold no others.
pub type Anchors = [Range<usize>; 2];

/// All of n rows.
pub fn all(n: usize) -> Anchors {
    [0..n, n..n]
}

/// How many they are.
pub fn count(anchors: &Anchors) -> usize {
    anchors.iter().map(ExactSizeIterator::len).sum()
}

impl<'a, T: Scalar> Rows<'a, T> {
    /// Head `head` of z and of the features that belong to it.
    pub fn head(&self, f: &Form<T>, head: usize) -> Self {
        let size = f.n * self.d;
        let of = |x: &'a [T], head: usize| &x[head * size..(head + 1) * size];
        let rows = head * f.n..(head + 1) * f.n;
        let scored = head.min(f.score_heads - 1);
        Self {
            z: of(self.z, head),
            features: self.features.map(|x| of(x, scored)),
            d: self.d,
            centre: self.centre.map(|c| Centre {
                mean: &c.mean[scored..=scored],
                ..c
            }),
            selection: self
                .selection
                .map(|(v, i)| (&v[rows.clone()], &i[rows.clone()])),
        }
    }

    /// The score of a pair of one head, from its product x, and what of it changes with the gain: x less the mean.
    pub fn score(&self, x: T) -> (T, T) {
        match &self.centre {
            None => (x, T::zero()),
            Some(c) => {
                let x = x - c.mean[0];
                (c.gain * x + c.offset, x)
            }
        }
    }
}

/// Elements that [`products`] needs of n rows.
pub fn strip(n: usize) -> usize {
    STRIP.min(n) * n
}

/// Products of up to STRIP rows of x [n,d] with all rows, [rows,n], in `memory` of [`strip`] elements.
///
/// STRIP rows are multiplied whatever `rows` is, because the order of the sums depends on the number of rows. So the
/// product of i with j equals that of j with i to the last bit, and a selection finds the same numbers as the loss.
pub fn products<'a, T: Scalar>(
    x: &[T],
    d: usize,
    rows: Range<usize>,
    memory: &'a mut [T],
) -> &'a mut [T] {
    let n = x.len() / d;
    let made = STRIP.min(n);
    let first = rows.start.min(n - made);
    let (lhs, rhs) = (
        Mat {
            data: &x[first * d..],
            rs: d,
            cs: 1,
        },
        Mat {
            data: x,
            rs: 1,
            cs: d,
        },
    );
    product(made, n, d, T::one(), lhs, rhs, memory, n, false);
    &mut memory[(rows.start - first) * n..(rows.end - first) * n]
}

/// `loss` and `norm` [heads*own], of these anchors.
pub fn amcl_stream<T: Scalar>(
    f: &Form<T>,
    x: &Rows<'_, T>,
    anchors: &Anchors,
    loss: &mut [T],
    norm: &mut [T],
) {
    let (n, own) = (f.n, count(anchors));
    let heads = loss.par_chunks_mut(own).zip(norm.par_chunks_mut(own));
    heads.enumerate().for_each(|(head, (mut loss, mut norm))| {
        let x = x.head(f, head);
        for run in anchors {
            let (of_run, rest) = (loss.split_at_mut(run.len()), norm.split_at_mut(run.len()));
            let strips = of_run.0.par_chunks_mut(STRIP);
            let strips = strips.zip(rest.0.par_chunks_mut(STRIP));
            strips.enumerate().for_each(|(k, (loss, norm))| {
                let (first, rows) = (run.start + k * STRIP, loss.len());
                let scored = x.features.map_or(0, |_| strip(n));
                let mut memory = scratch::local(strip(n) + scored);
                let [s, r] = split(&mut memory, [strip(n), scored]);
                let s = products(x.z, x.d, first..first + rows, s);
                let r = x.features.map(|p| {
                    let r = products(p, x.d, first..first + rows, r);
                    if x.centre.is_some() {
                        r.iter_mut().for_each(|r| *r = x.score(*r).0);
                    }
                    &*r
                });
                for i in 0..rows {
                    let row = i * n..(i + 1) * n;
                    let scores = r.map(|r| &r[row.clone()]);
                    let limit = threshold(x.selection, first + i);
                    (loss[i], norm[i]) = f.row(first + i, &s[row], scores, limit);
                }
            });
            (loss, norm) = (of_run.1, rest.1);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symmetric<T: Scalar>() {
        for (n, d) in [(4, 1), (10, 2), (34, 13), (70, 128), (130, 700)] {
            let x: Vec<T> = (0..n * d)
                .map(|i| T::of(f64::from(i as u32).sin()))
                .collect();
            let mut all = Vec::new();
            let mut memory = vec![T::zero(); strip(n)];
            for first in (0..n).step_by(STRIP) {
                let rows = first..(first + STRIP).min(n);
                all.extend_from_slice(products(&x, d, rows, &mut memory));
            }
            assert_eq!(all.len(), n * n);
            for (i, j) in (0..n).flat_map(|i| (0..i).map(move |j| (i, j))) {
                assert!(all[i * n + j] == all[j * n + i], "{n}x{d}: {i}, {j}");
            }
        }
    }

    #[test]
    fn products_are_symmetric_to_the_last_bit() {
        symmetric::<f32>();
        symmetric::<f64>();
    }
}
