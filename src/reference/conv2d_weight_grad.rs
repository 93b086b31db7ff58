//! Twin of `shaders/conv2d_weight_grad.wgsl`.

use super::Scalar;
use super::conv2d::{ConvDims, im2col};
use super::gemm::{Mat, product};
use rayon::prelude::*;

/// Runs that the batch is cut into: fixed, so that the result does not depend on the number of threads.
const RUNS: usize = 8;

/// `dw` from `x` and `dy`: per image dy^T columns; a partial sum a run of images, added in order.
pub fn conv2d_weight_grad<T: Scalar>(d: &ConvDims, x: &[T], dy: &[T], dw: &mut [T]) {
    let per = d.n.div_ceil(RUNS).max(1);
    let parts: Vec<Vec<T>> = x
        .par_chunks(per * d.image())
        .zip(dy.par_chunks(per * d.pixels() * d.k))
        .map(|(x, dy)| {
            let mut part = vec![T::zero(); d.k * d.row()];
            let mut cols = Vec::new();
            for (x, dy) in x.chunks(d.image()).zip(dy.chunks(d.pixels() * d.k)) {
                let data = if d.is_gemm() {
                    x
                } else {
                    cols.resize(d.pixels() * d.row(), T::zero());
                    im2col(d, x, &mut cols);
                    &cols
                };
                let lhs = Mat {
                    data: dy,
                    rs: 1,
                    cs: d.k,
                };
                product(
                    d.k,
                    d.row(),
                    d.pixels(),
                    T::one(),
                    lhs,
                    Mat {
                        data,
                        rs: d.row(),
                        cs: 1,
                    },
                    &mut part,
                    d.row(),
                    true,
                );
            }
            part
        })
        .collect();
    dw.fill(T::zero());
    for part in parts {
        dw.iter_mut().zip(part).for_each(|(a, b)| *a += b);
    }
}
