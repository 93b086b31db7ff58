//! Twin of `shaders/conv2d_input_grad.wgsl`.

use super::Scalar;
use super::conv2d::ConvDims;
use super::gemm::{Mat, product};
use rayon::prelude::*;

/// `dx` from `dy` and `w`: per image, columns = dy w, scattered back (col2im).
pub fn conv2d_input_grad<T: Scalar>(d: &ConvDims, dy: &[T], w: &[T], dx: &mut [T]) {
    let weights = Mat {
        data: w,
        rs: d.row(),
        cs: 1,
    };
    dx.par_chunks_mut(d.image())
        .zip(dy.par_chunks(d.pixels() * d.k))
        .for_each_init(Vec::new, |cols, (dx, dy)| {
            let lhs = Mat {
                data: dy,
                rs: d.k,
                cs: 1,
            };
            if d.is_gemm() {
                product(
                    d.pixels(),
                    d.row(),
                    d.k,
                    T::one(),
                    lhs,
                    weights,
                    dx,
                    d.row(),
                    false,
                );
                return;
            }
            cols.resize(d.pixels() * d.row(), T::zero());
            product(
                d.pixels(),
                d.row(),
                d.k,
                T::one(),
                lhs,
                weights,
                cols,
                d.row(),
                false,
            );
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
        });
}
