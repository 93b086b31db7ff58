//! Twin of `shaders/conv2d.wgsl`, and what the two gradients share: shapes, im2col.

use super::Scalar;
use super::gemm::{Mat, Right, pack, packed_len, product};
use super::{scratch, winograd};
use rayon::prelude::*;

/// Shapes of a convolution: x [n,h,w,c], weights [k,r,s,c], y [n,p,q,k].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvDims {
    /// Images.
    pub n: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Input channels.
    pub c: usize,
    /// Output height.
    pub p: usize,
    /// Output width.
    pub q: usize,
    /// Output channels.
    pub k: usize,
    /// Kernel height.
    pub r: usize,
    /// Kernel width.
    pub s: usize,
    /// Stride, both ways.
    pub stride: usize,
    /// Zero padding, all sides.
    pub pad: usize,
}

impl ConvDims {
    /// Elements of one input image.
    pub fn image(&self) -> usize {
        self.h * self.w * self.c
    }
    /// Pixels of one output image.
    pub fn pixels(&self) -> usize {
        self.p * self.q
    }
    /// Length of a weight row: r*s*c.
    pub fn row(&self) -> usize {
        self.r * self.s * self.c
    }
    /// Images that one task takes together. A product reads all weights however few rows it has, and deep layers have
    /// few pixels an image, so a task takes about 256 pixels, while at least some eight tasks remain for the cores. It
    /// depends on the shapes alone, so that results do not depend on the number of threads.
    pub(super) fn group(&self) -> usize {
        const ROWS: usize = 256;
        const TASKS: usize = 8;
        (ROWS / self.pixels()).min(self.n.div_ceil(TASKS)).max(1)
    }
    /// Place for weights [k,n] packed for all groups, when there are several.
    pub(super) fn shared<T: Scalar>(&self, k: usize, n: usize) -> scratch::Scratch<T> {
        let several = self.n > self.group();
        scratch::shared(if several { packed_len::<T>(k, n) } else { 0 })
    }
    /// A 1x1 convolution without stride or padding is a plain matrix product.
    pub fn is_gemm(&self) -> bool {
        self.r == 1 && self.s == 1 && self.stride == 1 && self.pad == 0
    }
    /// The columns s of kernel row r that lie inside the image for output (p, q): first s, count, and the first input
    /// pixel's element.
    pub(super) fn taps(&self, p: usize, q: usize, r: usize) -> Option<(usize, usize, usize)> {
        let ih = (p * self.stride + r)
            .checked_sub(self.pad)
            .filter(|ih| *ih < self.h)?;
        let left = q * self.stride;
        let s0 = self.pad.saturating_sub(left).min(self.s);
        let s1 = (self.w + self.pad).saturating_sub(left).min(self.s);
        (s0 < s1).then(|| (s0, s1 - s0, (ih * self.w + left + s0 - self.pad) * self.c))
    }
}

/// One image as a matrix [p*q, r*s*c].
pub(super) fn im2col<T: Scalar>(d: &ConvDims, x: &[T], cols: &mut [T]) {
    let (row, segment) = (d.row(), d.s * d.c);
    for (i, out) in cols.chunks_mut(row).enumerate() {
        let (p, q) = (i / d.q, i % d.q);
        for r in 0..d.r {
            let dst = &mut out[r * segment..(r + 1) * segment];
            match d.taps(p, q, r) {
                None => dst.fill(T::zero()),
                Some((s0, count, at)) => {
                    dst[..s0 * d.c].fill(T::zero());
                    dst[s0 * d.c..(s0 + count) * d.c].copy_from_slice(&x[at..at + count * d.c]);
                    dst[(s0 + count) * d.c..].fill(T::zero());
                }
            }
        }
    }
}

/// `y = conv(x, w)`: a matrix product per group of images, groups in parallel.
pub fn conv2d<T: Scalar>(d: &ConvDims, x: &[T], w: &[T], y: &mut [T]) {
    if winograd::suits::<T>(d) {
        return winograd::forward(d, x, w, y);
    }
    let weights = Mat {
        data: w,
        rs: 1,
        cs: d.row(),
    };
    let mut packed = d.shared(d.row(), d.k);
    pack(d.row(), d.k, weights, &mut packed);
    let weights = Right {
        mat: weights,
        packed: &packed,
    };
    let one = d.pixels() * d.row();
    y.par_chunks_mut(d.group() * d.pixels() * d.k)
        .zip(x.par_chunks(d.group() * d.image()))
        .for_each(|(y, x)| {
            let images = x.len() / d.image();
            let mut cols = scratch::local(if d.is_gemm() { 0 } else { images * one });
            for (x, cols) in x.chunks(d.image()).zip(cols.chunks_mut(one)) {
                im2col(d, x, cols);
            }
            let data = if d.is_gemm() { x } else { &cols };
            let lhs = Mat {
                data,
                rs: d.row(),
                cs: 1,
            };
            let (m, k) = (images * d.pixels(), d.row());
            product(m, d.k, k, T::one(), lhs, weights, y, d.k, false);
        });
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::reference::{
        conv2d_input_grad::conv2d_input_grad, conv2d_weight_grad::conv2d_weight_grad,
    };

    /// Every (output element, input element, weight element) triple of the definition.
    fn triples(d: &ConvDims, mut f: impl FnMut(usize, usize, usize)) {
        for n in 0..d.n {
            for (p, q) in (0..d.p).flat_map(|p| (0..d.q).map(move |q| (p, q))) {
                for (r, s) in (0..d.r).flat_map(|r| (0..d.s).map(move |s| (r, s))) {
                    let (ih, iw) = (p * d.stride + r, q * d.stride + s);
                    if ih < d.pad || iw < d.pad || ih - d.pad >= d.h || iw - d.pad >= d.w {
                        continue;
                    }
                    for (k, c) in (0..d.k).flat_map(|k| (0..d.c).map(move |c| (k, c))) {
                        f(
                            ((n * d.p + p) * d.q + q) * d.k + k,
                            ((n * d.h + ih - d.pad) * d.w + iw - d.pad) * d.c + c,
                            ((k * d.r + r) * d.s + s) * d.c + c,
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn all_three_equal_the_definition() {
        for (n, h, w, c, k, r, stride, pad) in [
            (2, 5, 6, 3, 4, 3, 1, 1),
            (1, 7, 7, 2, 3, 3, 2, 1),
            (2, 6, 5, 4, 2, 1, 2, 0),
            (1, 9, 8, 3, 2, 7, 2, 3),
            (1, 3, 3, 1, 1, 3, 1, 0),
            (3, 4, 4, 5, 7, 1, 1, 0),
            (1, 2, 2, 2, 2, 5, 1, 3),
        ] {
            let (p, q) = (
                (h + 2 * pad - r) / stride + 1,
                (w + 2 * pad - r) / stride + 1,
            );
            let d = ConvDims {
                n,
                h,
                w,
                c,
                p,
                q,
                k,
                r,
                s: r,
                stride,
                pad,
            };
            let make =
                |n: usize, f: f64| (0..n).map(|i| (i as f64 * f).sin()).collect::<Vec<f64>>();
            let (x, wt, dy) = (
                make(n * d.image(), 0.7),
                make(k * d.row(), 0.3),
                make(n * p * q * k, 0.9),
            );
            let (mut y, mut dx, mut dw) =
                (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; wt.len()]);
            triples(&d, |o, i, j| {
                y[o] += x[i] * wt[j];
                dx[i] += dy[o] * wt[j];
                dw[j] += dy[o] * x[i];
            });
            let close = |a: &[f64], b: &[f64], what: &str| {
                let e = a.iter().zip(b).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
                assert!(e < 1e-11, "{what} {d:?}: {e}");
            };
            let mut got = vec![f64::NAN; y.len()];
            conv2d(&d, &x, &wt, &mut got);
            close(&got, &y, "forward");
            let mut got = vec![f64::NAN; x.len()];
            conv2d_input_grad(&d, &dy, &wt, &mut got);
            close(&got, &dx, "input gradient");
            let mut got = vec![f64::NAN; wt.len()];
            conv2d_weight_grad(&d, &x, &dy, &mut got);
            close(&got, &dw, "weight gradient");
        }
    }
}
