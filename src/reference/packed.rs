//! Products of f32 by the kernels of the `gemm` crate, with packed operands in memory that is kept.
//!
//! The crate's own function allocates memory for its packed operands at every call, and offers no way around it. Here
//! is what that function does on one thread (gemm-common 0.19, `gemm_basic_generic`): the same kernels, with the same
//! choices of blocks, so that results are equal to the bit (tested below).
//!
//! Products that need no packing are left to the crate: vectors, sums of one or two terms, and few and long dot
//! products. So is every product on processors for which no kernels are named here ([`kernels::with_kernels`]).
//!
//! Two things differ from the crate.
//! - A right operand that many products share is packed once ([`pack`]): the filters of a convolution, whose tasks each
//!   take one group of images. Small products of many terms may then add in other blocks, and round otherwise.
//! - Rows are packed a cache line at a time (`pack_rows`).

mod kernels;

use super::gemm::Mat;
use super::scratch;
use gemm_common::cache::{CACHE_INFO, KernelParams, kernel_params};
use gemm_common::gemm::{get_lhs_packing_threshold_single_thread, get_rhs_packing_threshold};
use kernels::{Job, Kernels, Tile, with_kernels};
use rayon::prelude::*;

/// `dst = (add ? dst : 0) + alpha * lhs rhs`, with lhs [m,k] and rhs [k,n].
pub(super) struct Product<'a> {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) alpha: f32,
    pub(super) lhs: Mat<'a, f32>,
    pub(super) rhs: Mat<'a, f32>,
    pub(super) dst: &'a mut [f32],
    /// Steps between rows and columns of the result, one of which is 1.
    pub(super) dst_rs: usize,
    pub(super) dst_cs: usize,
    pub(super) add: bool,
    /// The right operand as [`pack`] left it, for a result that is stored by rows.
    pub(super) packed: Option<&'a [f32]>,
}

fn transposed(m: Mat<'_, f32>) -> Mat<'_, f32> {
    Mat {
        data: m.data,
        rs: m.cs,
        cs: m.rs,
    }
}

/// The part of an operand that begins at a row and column.
fn from(m: Mat<'_, f32>, row: usize, column: usize) -> Mat<'_, f32> {
    Mat {
        data: &m.data[row * m.rs + column * m.cs..],
        ..m
    }
}

/// Steps of the depth that are packed together. It depends on the depth and the kernels alone.
fn depth_block<K: Kernels>(k: usize) -> usize {
    kernel_params(K::MR, K::NR, k, K::MR, K::NR, size_of::<f32>()).kc
}

/// Elements of a right operand [k,n] when packed; 0 where no kernels are known for the processor.
pub(super) fn packed_len(k: usize, n: usize) -> usize {
    struct Len(usize, usize);
    impl Job for Len {
        type Output = usize;
        fn with<K: Kernels>(self, _: K) -> usize {
            let kc = depth_block::<K>(self.0);
            self.0.div_ceil(kc) * kc * self.1.next_multiple_of(K::MR)
        }
    }
    if k == 0 {
        return 0;
    }
    with_kernels(Len(k, n)).unwrap_or(0)
}

/// Packs a right operand [k,n] for [`Product::packed`] into [`packed_len`] elements, on all threads.
///
/// # Panics
/// When a slice is too short.
pub(super) fn pack(k: usize, n: usize, rhs: Mat<'_, f32>, to: &mut [f32]) {
    /// Elements that are worth a task.
    const TASK: usize = 1 << 16;
    struct Pack<'a>(usize, usize, Mat<'a, f32>, &'a mut [f32]);
    impl Job for Pack<'_> {
        type Output = ();
        fn with<K: Kernels>(self, kernels: K) {
            // The kernels go down columns, so the product is transposed, and the right operand becomes the left one.
            let Self(k, m, rhs, to) = self;
            let lhs = transposed(rhs);
            let kc = depth_block::<K>(k);
            let tile = |block: usize, i: usize, to: &mut [f32]| {
                let (depth, row) = (block * kc, i * K::MR);
                let (rows, width) = (K::MR.min(m - row), kc.min(k - depth));
                kernels.pack_left(from(lhs, row, depth), rows, width, to, kc * K::MR);
            };
            to.par_chunks_mut(kc * m.next_multiple_of(K::MR))
                .enumerate()
                .for_each(|(block, to)| {
                    to.par_chunks_mut(kc * K::MR)
                        .enumerate()
                        .with_min_len((TASK / (kc * K::MR)).max(1))
                        .for_each(|(i, to)| tile(block, i, to));
                });
        }
    }
    with_kernels(Pack(k, n, rhs, to));
}

impl Product<'_> {
    /// Computes it on the calling thread; false, and nothing done, when it is the crate's to do.
    ///
    /// # Panics
    /// When a slice is too short.
    pub(super) fn run(self) -> bool {
        // The kernels go down columns.
        let p = match self.dst_cs < self.dst_rs {
            true => Self {
                m: self.n,
                n: self.m,
                lhs: transposed(self.rhs),
                rhs: transposed(self.lhs),
                dst_rs: self.dst_cs,
                dst_cs: self.dst_rs,
                ..self
            },
            false => Self {
                packed: None,
                ..self
            },
        };
        let (l, r) = (p.lhs, p.rhs);
        let column = p.n <= 1 && (l.rs == 1 && p.dst_rs == 1 || l.cs == 1 && r.rs == 1);
        let row = p.m <= 1 && (r.cs == 1 && p.dst_cs == 1 || r.rs == 1 && l.cs == 1);
        if p.m == 0 || p.n == 0 || p.k <= 2 || column || row {
            return false;
        }
        with_kernels(p).unwrap_or(false)
    }

    /// Sizes of the blocks: of the depth, of the left operand's rows, of the right operand's columns.
    fn blocks<K: Kernels>(&self) -> KernelParams {
        let Self { m, n, k, .. } = *self;
        let params = if self.packed.is_none() && m <= 64 && n <= 64 {
            let kc = k.min(512);
            KernelParams {
                kc,
                mc: CACHE_INFO[1].cache_bytes / size_of::<f32>() / kc / K::MR * K::MR,
                nc: n.next_multiple_of(K::NR),
            }
        } else {
            kernel_params(m, n, k, K::MR, K::NR, size_of::<f32>())
        };
        // The crate's rules for caches of unusual sizes.
        KernelParams {
            kc: params.kc,
            mc: params.mc.max(K::MR),
            nc: if params.nc > 0 {
                params.nc
            } else {
                128 * K::NR
            },
        }
    }
}

/// Where the kernels find the left operand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Packed before the product, as [`Product::packed`].
    Before,
    /// All rows of a depth block are packed before its first tile.
    Whole,
    /// The rows of a block are packed when its first column of tiles meets them.
    ByBlock,
    /// It is read where it lies.
    InPlace,
}

impl Job for Product<'_> {
    type Output = bool;

    /// For a result that is stored by columns. Blocks of the right operand's columns, of the depth, of the left
    /// operand's rows; within them the kernels' tiles.
    fn with<K: Kernels>(self, kernels: K) -> bool {
        let Self {
            m, n, k, lhs, rhs, ..
        } = self;
        // Few and long dot products are the crate's.
        if kernels.has_dots() && lhs.cs == 1 && rhs.rs == 1 && m * n <= 16 * 16 {
            return false;
        }
        let KernelParams { kc, mc, nc } = self.blocks::<K>();
        let (rhs_stride, lhs_stride) = (kc * K::NR, kc * K::MR);

        let many_rows = m > get_rhs_packing_threshold() * K::MR;
        let packs_rhs = match cfg!(target_arch = "aarch64") {
            true => many_rows,
            false if rhs.rs == 1 => many_rows,
            false => m > 2 * K::MR,
        };
        let uneven = |rows: usize| !rows.is_multiple_of(K::N) || lhs.rs != 1;
        let whole = self.packed.is_none() && m <= 2 * mc && uneven(m);
        let lhs_rows = match (self.packed, whole) {
            (Some(_), _) => 0,
            (None, true) => m,
            (None, false) => mc.min(m),
        };
        let rhs_len = if packs_rhs { kc * nc } else { 0 };
        let mut buffer = scratch::local::<f32>(rhs_len + lhs_stride * lhs_rows.div_ceil(K::MR));
        let (packed_rhs, packed_lhs) = buffer.split_at_mut(rhs_len);

        for column in (0..n).step_by(nc) {
            let columns = nc.min(n - column);
            for depth in (0..k).step_by(kc) {
                let kb = kc.min(k - depth);
                // The result's old values are added to, or overwritten by the first depth block.
                let keep = self.add || depth > 0;
                if packs_rhs {
                    let right = from(rhs, depth, column);
                    kernels.pack_right(right, kb, columns, packed_rhs, rhs_stride);
                }
                // This depth block of a left operand that was packed before.
                let before = self.packed.map(|p| {
                    let tiles = m.div_ceil(K::MR) * lhs_stride;
                    &p[depth / kc * tiles..][..tiles]
                });
                if whole {
                    kernels.pack_left(from(lhs, 0, depth), m, kb, packed_lhs, lhs_stride);
                }
                let mut first = 0;
                while first < m {
                    let mut rows = mc.min(m - first);
                    if rows > K::N && !whole && before.is_none() {
                        rows = rows / K::N * K::N;
                    }
                    let wide = columns > get_lhs_packing_threshold_single_thread() * K::NR;
                    let left = match before {
                        Some(_) => Left::Before,
                        None if whole => Left::Whole,
                        None if uneven(rows) || wide => Left::ByBlock,
                        None => Left::InPlace,
                    };
                    for j in (0..columns).step_by(K::NR) {
                        let right = match packs_rhs {
                            true => Mat {
                                data: &packed_rhs[j / K::NR * rhs_stride..],
                                rs: K::NR,
                                cs: 1,
                            },
                            false => from(rhs, depth, column + j),
                        };
                        for i in (0..rows).step_by(K::MR) {
                            let (row, height) = (first + i, K::MR.min(rows - i));
                            let tile = match left {
                                Left::ByBlock => i / K::MR * lhs_stride,
                                _ => row / K::MR * lhs_stride,
                            };
                            if left == Left::ByBlock && j == 0 {
                                let to = &mut packed_lhs[tile..];
                                let from = from(lhs, row, depth);
                                kernels.pack_left(from, height, kb, to, lhs_stride);
                            }
                            let (left, left_cs) = match (left, before) {
                                (Left::Before, Some(p)) => (&p[tile..], K::MR),
                                (Left::InPlace, _) => (from(lhs, row, depth).data, lhs.cs),
                                _ => (&packed_lhs[tile..], K::MR),
                            };
                            let to = row * self.dst_rs + (column + j) * self.dst_cs;
                            kernels.multiply(Tile {
                                height,
                                width: K::NR.min(columns - j),
                                depth: kb,
                                left,
                                left_cs,
                                right,
                                dst: &mut self.dst[to..],
                                dst_rs: self.dst_rs,
                                dst_cs: self.dst_cs,
                                alpha: self.alpha,
                                keep,
                            });
                        }
                    }
                    first += rows;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
