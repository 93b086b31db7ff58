//! Twin of `shaders/amcl_stream.wgsl`: rows of similarities and scores a few at a time.

use super::Scalar;
use super::amcl_loss::Form;
use super::gemm::{Mat, product};
use super::scratch::{self, split};
use rayon::prelude::*;

/// Rows that are made at a time.
pub const STRIP: usize = 32;

/// What pairs are made of.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    /// Unit rows [heads*anchors, d].
    pub z: &'a [T],
    /// phi's features [score heads*anchors, d].
    pub features: Option<&'a [T]>,
    /// Their width.
    pub d: usize,
}

impl<'a, T: Scalar> Rows<'a, T> {
    /// Head `head` of z and of the features that belong to it.
    pub fn head(&self, f: &Form<T>, head: usize) -> Self {
        let size = f.n * self.d;
        let of = |x: &'a [T], head: usize| &x[head * size..(head + 1) * size];
        Self {
            z: of(self.z, head),
            features: self.features.map(|x| of(x, head.min(f.score_heads - 1))),
            d: self.d,
        }
    }
}

/// Products of some rows from `first` on with all rows of x [n,d], into `out` [rows,n].
pub fn products<T: Scalar>(x: &[T], d: usize, first: usize, out: &mut [T]) {
    let n = x.len() / d;
    let rows = out.len() / n;
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
    product(rows, n, d, T::one(), lhs, rhs, out, n, false);
}

/// `loss` and `norm` [heads*anchors].
pub fn amcl_stream<T: Scalar>(f: &Form<T>, x: &Rows<'_, T>, loss: &mut [T], norm: &mut [T]) {
    let n = f.n;
    let heads = loss.par_chunks_mut(n).zip(norm.par_chunks_mut(n));
    heads.enumerate().for_each(|(head, (loss, norm))| {
        let x = x.head(f, head);
        let strips = loss.par_chunks_mut(STRIP).zip(norm.par_chunks_mut(STRIP));
        strips.enumerate().for_each(|(strip, (loss, norm))| {
            let (first, rows) = (strip * STRIP, loss.len());
            let scored = x.features.map_or(0, |_| rows * n);
            let mut memory = scratch::local(rows * n + scored);
            let [s, r] = split(&mut memory, [rows * n, scored]);
            products(x.z, x.d, first, s);
            if let Some(p) = x.features {
                products(p, x.d, first, r);
            }
            for i in 0..rows {
                let row = i * n..(i + 1) * n;
                let scores = x.features.map(|_| &r[row.clone()]);
                (loss[i], norm[i]) = f.softmax_row(first + i, &s[row], scores);
            }
        });
    });
}
