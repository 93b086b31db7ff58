//! The gradient by the weights, dg = G^T [ sum over tiles of (A dy A^T) o (B^T d B) ] G: 16 products whose depth is the
//! number of tiles.

use super::{FilterTransposed, OutputTransposed, Planes, Shape, padded, tiles, transform};
use crate::reference::Scalar;
use crate::reference::conv2d::ConvDims;
use crate::reference::elementwise::vectorized;
use crate::reference::gemm::{Mat, product};
use crate::reference::scratch::{self, split};
use rayon::prelude::*;
use std::ops::Range;

/// Tiles that a run has at least, and runs at most: each has sums to add to the others'.
const RUN: usize = 256;
const RUNS: usize = 16;
/// Pairs of channels up to which there are runs. With more, a run's sums outgrow a core's cache, and its tiles are few.
const PAIRS: usize = 128 * 128;
/// Elements of the transformed tiles that a run multiplies at a time: half of what a core's cache holds.
const CACHE: usize = 1 << 17;
/// Tiles that are multiplied at a time, at most and at least.
const BLOCK: (usize, usize) = (256, 16);
/// Tiles of a task that only transforms.
const TASK: usize = 32;

/// `dw` from `x` and `dy`: the products of transformed tiles, summed over all tiles. The tiles are cut into runs, each
/// with sums of its own, which are added in order. The runs depend on the shapes alone, so that the result does not
/// depend on the number of threads.
pub(in crate::reference) fn weight_grad<T: Scalar>(d: &ConvDims, x: &[T], dy: &[T], dw: &mut [T]) {
    let (rows, columns) = tiles(d.p, d.q);
    let (all, plane) = (d.n * rows * columns, d.k * d.c);
    let per = match plane <= PAIRS {
        true => all.div_ceil((all / RUN).clamp(1, RUNS)),
        false => all,
    };
    let runs = all.div_ceil(per);
    let g = WeightGrad {
        d,
        x,
        dy,
        rows,
        columns,
    };
    let mut sums = scratch::shared(runs * 16 * plane);
    if runs > 1 {
        sums.par_chunks_mut(16 * plane)
            .enumerate()
            .for_each(|(run, sums)| {
                g.run(run * per..all.min((run + 1) * per), sums);
            });
    } else {
        g.all(all, &mut sums);
    }
    let (c, sums) = (d.c, &sums[..]);
    dw.par_chunks_mut(d.row()).enumerate().for_each(|(k, dw)| {
        let mut buffer = scratch::local(28 * c);
        let [work, total] = split(&mut buffer, [12 * c, 16 * c]);
        vectorized(|| {
            for (t, total) in total.chunks_exact_mut(c).enumerate() {
                let part = |run: usize| &sums[(16 * run + t) * plane + k * c..][..c];
                total.copy_from_slice(part(0));
                for run in 1..runs {
                    total.iter_mut().zip(part(run)).for_each(|(a, b)| *a += *b);
                }
            }
            let value = |a: usize, b: usize| &total[(4 * a + b) * c..][..c];
            for (b, to) in work.chunks_exact_mut(3 * c).enumerate() {
                let from = [value(0, b), value(1, b), value(2, b), value(3, b)];
                transform::<FilterTransposed, T, 4, 3>(from, split(to, [c; 3]));
            }
            for (a, to) in dw.chunks_exact_mut(3 * c).enumerate() {
                let from = [0, 1, 2, 3].map(|b| &work[(3 * b + a) * c..][..c]);
                transform::<FilterTransposed, T, 4, 3>(from, split(to, [c; 3]));
            }
        });
    });
}

/// The gradient by the weights before its last transform.
struct WeightGrad<'a, T> {
    d: &'a ConvDims,
    x: &'a [T],
    dy: &'a [T],
    /// Rows and columns of tiles of an image.
    rows: usize,
    columns: usize,
}

impl<T: Scalar> WeightGrad<'_, T> {
    /// Elements of the planes of patches and of gradients for `size` tiles, and of a row of zeros.
    fn lens(&self, size: usize) -> [usize; 3] {
        let (c, k) = (self.d.c, self.d.k);
        [16 * padded(size * c), 16 * padded(size * k), c.max(k)]
    }

    /// B^T d B and A dy A^T of tiles `tiles` of the batch, to rows `row`, `row + 1`, ... of the planes.
    ///
    /// # Safety
    /// As [`Planes::row`], for these rows.
    unsafe fn transforms(
        &self,
        tiles: Range<usize>,
        row: usize,
        zeros: &[T],
        into: (&Planes<T>, &Planes<T>),
    ) {
        let d = self.d;
        let of_x = Shape::of(d);
        let work = &mut scratch::local(16 * d.c.max(d.k))[..];
        vectorized(|| {
            for (t, tile) in tiles.enumerate() {
                let (n, i, j) = (
                    tile / (self.rows * self.columns),
                    tile / self.columns % self.rows,
                    tile % self.columns,
                );
                let x = &self.x[n * d.image()..(n + 1) * d.image()];
                let dy = &self.dy[n * d.pixels() * d.k..(n + 1) * d.pixels() * d.k];
                // SAFETY: the caller's.
                unsafe {
                    of_x.patch(x, (i, j), (work, zeros), (into.0, (row + t) * d.c));
                    spread(d, dy, (i, j), (work, zeros), (into.1, (row + t) * d.k));
                }
            }
        });
    }

    /// Adds the product of plane t of m transformed tiles to `sum`, or begins it.
    fn product(
        &self,
        t: usize,
        m: usize,
        (patches, spreads): (&[T], &[T]),
        add: bool,
        sum: &mut [T],
    ) {
        let d = self.d;
        let lhs = Mat {
            data: &spreads[t * padded(m * d.k)..],
            rs: 1,
            cs: d.k,
        };
        let rhs = Mat {
            data: &patches[t * padded(m * d.c)..],
            rs: d.c,
            cs: 1,
        };
        product(d.k, d.c, m, T::one(), lhs, rhs, sum, d.c, add);
    }

    /// The sums [16][k][c] of a run of tiles, on the calling thread.
    fn run(&self, run: Range<usize>, sums: &mut [T]) {
        let d = self.d;
        let size = (CACHE / (16 * (d.c + d.k)))
            .clamp(BLOCK.1, BLOCK.0)
            .min(run.len());
        let lens = self.lens(size);
        let mut buffer = scratch::local(lens.iter().sum());
        let [patches, spreads, zeros] = split(&mut buffer, lens);
        zeros.fill(T::zero());
        for first in run.clone().step_by(size) {
            let m = size.min(run.end - first);
            let into = (
                &Planes::new(patches, m * d.c),
                &Planes::new(spreads, m * d.k),
            );
            // SAFETY: the buffer is this task's.
            unsafe { self.transforms(first..first + m, 0, zeros, into) };
            for (t, sum) in sums.chunks_exact_mut(d.k * d.c).enumerate() {
                self.product(t, m, (patches, spreads), first > run.start, sum);
            }
        }
    }

    /// The sums [16][k][c] of all tiles: transforms of some tiles in parallel, then the 16 products in parallel.
    fn all(&self, all: usize, sums: &mut [T]) {
        let d = self.d;
        let size = BLOCK.0.min(all);
        let lens = self.lens(size);
        let mut memory = scratch::shared(lens.iter().sum());
        let [patches, spreads, zeros] = split(&mut memory, lens);
        zeros.fill(T::zero());
        let zeros = &*zeros;
        for first in (0..all).step_by(size) {
            let m = size.min(all - first);
            let into = (
                &Planes::new(patches, m * d.c),
                &Planes::new(spreads, m * d.k),
            );
            (0..m.div_ceil(TASK)).into_par_iter().for_each(|task| {
                let (begin, end) = (task * TASK, m.min((task + 1) * TASK));
                // SAFETY: this task alone writes these rows of both planes.
                unsafe { self.transforms(first + begin..first + end, begin, zeros, into) };
            });
            sums.par_chunks_mut(d.k * d.c)
                .enumerate()
                .for_each(|(t, sum)| {
                    self.product(t, m, (patches, spreads), first > 0, sum);
                });
        }
    }
}

/// A dy A^T of tile (i, j) of an image [p,q,k] to element `at` of the planes; `work` as in [`Shape::patch`].
///
/// # Safety
/// As [`Planes::row`].
#[inline(always)]
unsafe fn spread<T: Scalar>(
    d: &ConvDims,
    dy: &[T],
    (i, j): (usize, usize),
    (work, zeros): (&mut [T], &[T]),
    (planes, at): (&Planes<T>, usize),
) {
    let k = d.k;
    for (b, to) in work[..8 * k].chunks_exact_mut(4 * k).enumerate() {
        let from = [0, 1].map(|a| match (2 * i + a < d.p, 2 * j + b < d.q) {
            (true, true) => &dy[((2 * i + a) * d.q + 2 * j + b) * k..][..k],
            _ => &zeros[..k],
        });
        transform::<OutputTransposed, T, 2, 4>(from, split(to, [k; 4]));
    }
    for a in 0..4 {
        let from = [0, 1].map(|b| &work[(4 * b + a) * k..][..k]);
        // SAFETY: the caller's.
        let to = unsafe { planes.row(a, at, k) };
        transform::<OutputTransposed, T, 2, 4>(from, to);
    }
}
