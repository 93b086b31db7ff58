//! Twin of `shaders/conv2d_input_grad.wgsl`.

use super::Scalar;
use super::conv2d::ConvDims;
use super::gemm::{Mat, Right, pack, product};
use super::{scratch, winograd};
use rayon::prelude::*;

/// `dx` from `dy` and `w`: per group of images, columns = dy w, scattered back (col2im).
pub fn conv2d_input_grad<T: Scalar>(d: &ConvDims, dy: &[T], w: &[T], dx: &mut [T]) {
    if winograd::suits::<T>(d) {
        return winograd::input_grad(d, dy, w, dx);
    }
    let weights = Mat {
        data: w,
        rs: d.row(),
        cs: 1,
    };
    let mut packed = d.shared(d.k, d.row());
    pack(d.k, d.row(), weights, &mut packed);
    let weights = Right {
        mat: weights,
        packed: &packed,
    };
    let one = d.pixels() * d.row();
    dx.par_chunks_mut(d.group() * d.image())
        .zip(dy.par_chunks(d.group() * d.pixels() * d.k))
        .for_each(|(dx, dy)| {
            let lhs = Mat {
                data: dy,
                rs: d.k,
                cs: 1,
            };
            let (m, n) = (dy.len() / d.k, d.row());
            if d.is_gemm() {
                product(m, n, d.k, T::one(), lhs, weights, dx, n, false);
                return;
            }
            let mut cols = scratch::local(m * n);
            product(m, n, d.k, T::one(), lhs, weights, &mut cols, n, false);
            for (dx, cols) in dx.chunks_mut(d.image()).zip(cols.chunks(one)) {
                col2im(d, cols, dx);
            }
        });
}

/// The sum of what each of an image's columns [p*q, r*s*c] adds to its pixels.
fn col2im<T: Scalar>(d: &ConvDims, cols: &[T], dx: &mut [T]) {
    dx.fill(T::zero());
    for (i, src) in cols.chunks(d.row()).enumerate() {
        for r in 0..d.r {
            if let Some((s0, count, at)) = d.taps(i / d.q, i % d.q, r) {
                let from = (r * d.s + s0) * d.c;
                let len = count * d.c;
                dx[at..at + len]
                    .iter_mut()
                    .zip(&src[from..from + len])
                    .for_each(|(a, b)| *a += *b);
            }
        }
    }
}
