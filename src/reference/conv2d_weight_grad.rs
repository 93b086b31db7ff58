//! Twin of `shaders/conv2d_weight_grad.wgsl`.

use super::Scalar;
use super::conv2d::{ConvDims, im2col};
use super::gemm::{Mat, product};
use super::{scratch, winograd};
use rayon::prelude::*;

/// Runs that the batch is cut into, and blocks that the filters are cut into. It is fixed, so that the result does not
/// depend on the number of threads.
const RUNS: usize = 8;
/// Elements of the columns of several images that are held at once.
const COLUMNS: usize = 1 << 21;

/// `dw` from `x` and `dy`: dy^T columns, summed over the images.
pub fn conv2d_weight_grad<T: Scalar>(d: &ConvDims, x: &[T], dy: &[T], dw: &mut [T]) {
    if winograd::suits::<T>(d) {
        return winograd::weight_grad(d, x, dy, dw);
    }
    // Each run of images has a partial sum of k row elements to write and add. That pays while it is small beside the
    // columns.
    if d.k * d.row() > d.pixels() * d.row() {
        by_filters(d, x, dy, dw);
    } else {
        by_images(d, x, dy, dw);
    }
}

/// Images in parallel: a partial sum a run of images, added in order.
fn by_images<T: Scalar>(d: &ConvDims, x: &[T], dy: &[T], dw: &mut [T]) {
    let per = d.n.div_ceil(RUNS).max(1);
    let mut parts = scratch::shared(d.n.div_ceil(per) * dw.len());
    parts
        .par_chunks_mut(dw.len())
        .zip(x.par_chunks(per * d.image()))
        .zip(dy.par_chunks(per * d.pixels() * d.k))
        .for_each(|((part, x), dy)| {
            part.fill(T::zero());
            let columns = if d.is_gemm() { 0 } else { d.pixels() * d.row() };
            let mut cols = scratch::local(columns);
            for (x, dy) in x.chunks(d.image()).zip(dy.chunks(d.pixels() * d.k)) {
                let data = if d.is_gemm() {
                    x
                } else {
                    im2col(d, x, &mut cols);
                    &cols
                };
                accumulate(d, d.pixels(), dy, 0, data, true, part);
            }
        });
    dw.fill(T::zero());
    for part in parts.chunks(dw.len()) {
        dw.iter_mut().zip(part).for_each(|(a, b)| *a += *b);
    }
}

/// Filters in parallel: the columns of as many images as fit are made once, and every block of filters sums over all of
/// them.
fn by_filters<T: Scalar>(d: &ConvDims, x: &[T], dy: &[T], dw: &mut [T]) {
    let one = d.pixels() * d.row();
    let images = (COLUMNS / one).clamp(1, d.n);
    let block = d.k.div_ceil(RUNS);
    let mut cols = scratch::shared(if d.is_gemm() { 0 } else { images * one });
    for (part, (x, dy)) in x
        .chunks(images * d.image())
        .zip(dy.chunks(images * d.pixels() * d.k))
        .enumerate()
    {
        let n = x.len() / d.image();
        let data = if d.is_gemm() {
            x
        } else {
            cols.par_chunks_mut(one)
                .zip(x.par_chunks(d.image()))
                .for_each(|(cols, x)| im2col(d, x, cols));
            &cols[..n * one]
        };
        dw.par_chunks_mut(block * d.row())
            .enumerate()
            .for_each(|(b, dw)| {
                accumulate(d, n * d.pixels(), dy, b * block, data, part > 0, dw);
            });
    }
}

/// `dw (+)= dy[:, first..]^T columns` for as many filters as `dw` holds.
fn accumulate<T: Scalar>(
    d: &ConvDims,
    pixels: usize,
    dy: &[T],
    first: usize,
    cols: &[T],
    add: bool,
    dw: &mut [T],
) {
    let lhs = Mat {
        data: &dy[first..],
        rs: 1,
        cs: d.k,
    };
    let rhs = Mat {
        data: cols,
        rs: d.row(),
        cs: 1,
    };
    let filters = dw.len() / d.row();
    product(
        filters,
        d.row(),
        pixels,
        T::one(),
        lhs,
        rhs,
        dw,
        d.row(),
        add,
    );
}
