//! The `gemm` crate's kernels for f32 behind a safe face: packing of operands, and the product of a tile.
//!
//! This is the only `unsafe` code of the f32 products. The kernels take pointers; here they get slices, whose lengths
//! are checked before each call. A call's check costs a few comparisons, its work at least hundreds of multiply-adds.
//!
//! The contracts below were read off gemm-common 0.19.0 (`pack_operands.rs`, `microkernel.rs`) and gemm-f32 0.19.0.
//! These are internals of the crate, not covered by its version promise, so Cargo.toml pins the versions.

use crate::reference::elementwise::vectorized;
use crate::reference::gemm::Mat;
use gemm_common::Ptr;
use gemm_common::microkernel::MicroKernelFn;
use gemm_common::pack_operands::{pack_lhs, pack_rhs};
use gemm_common::simd::Simd;

/// The kernels of one instruction set. They go down columns: a left operand is read in vectors of `N` rows.
pub(super) trait Kernels: Copy + Send + Sync {
    /// Rows of a vector.
    const N: usize;
    /// Rows of a tile, a multiple of `N`.
    const MR: usize;
    /// Columns of a tile.
    const NR: usize;

    /// The crate has kernels for dot products as well, which are not named here.
    fn has_dots(self) -> bool;

    /// Packs rows `0..rows` of the left operand [rows,k] into tiles of `MR` rows, column by column, which begin
    /// `stride` elements apart in `to`.
    ///
    /// # Panics
    /// When a slice is too short.
    fn pack_left(self, left: Mat<'_, f32>, rows: usize, k: usize, to: &mut [f32], stride: usize);

    /// Packs columns `0..columns` of the right operand [k,columns] into tiles of `NR` columns, row by row, which begin
    /// `stride` elements apart in `to`.
    ///
    /// # Panics
    /// When a slice is too short.
    fn pack_right(
        self,
        right: Mat<'_, f32>,
        k: usize,
        columns: usize,
        to: &mut [f32],
        stride: usize,
    );

    /// Computes one tile of a product.
    ///
    /// # Panics
    /// When a slice is too short, or the tile larger than `MR` x `NR`.
    fn multiply(self, tile: Tile<'_>);
}

/// A tile of a product: `dst = (keep ? dst : 0) + alpha * left right`.
pub(super) struct Tile<'a> {
    /// Rows, columns, and length of the sums.
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) depth: usize,
    /// Columns of the left operand, `left_cs` apart, each of as many whole vectors as the tile's rows need.
    pub(super) left: &'a [f32],
    pub(super) left_cs: usize,
    pub(super) right: Mat<'a, f32>,
    pub(super) dst: &'a mut [f32],
    pub(super) dst_rs: usize,
    pub(super) dst_cs: usize,
    pub(super) alpha: f32,
    pub(super) keep: bool,
}

/// What is done with the kernels of this processor.
pub(super) trait Job {
    type Output;
    fn with<K: Kernels>(self, kernels: K) -> Self::Output;
}

/// Does a job. `None` where this module names no kernels for the processor: x86 without AVX2 and FMA, ARM without NEON,
/// and all other architectures.
#[allow(
    unused_variables,
    reason = "not every architecture has kernels that are named here"
)]
pub(super) fn with_kernels<J: Job>(job: J) -> Option<J::Output> {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        use gemm_common::simd::{MixedSimd, V3, V4};
        if let Some(simd) = <V4 as MixedSimd<f32, f32, f32, f32>>::try_new() {
            use gemm_f32::microkernel::avx512f::f32::{H_M, MR_DIV_N, NR, UKR};
            let dots = H_M > 0;
            return Some(job.with(Set::<V4, 16, { 16 * MR_DIV_N }, NR, MR_DIV_N> {
                simd,
                tiles: &UKR,
                dots,
            }));
        }
        if let Some(simd) = <V3 as MixedSimd<f32, f32, f32, f32>>::try_new() {
            use gemm_f32::microkernel::fma::f32::{H_M, MR_DIV_N, NR, UKR};
            let dots = H_M > 0;
            return Some(job.with(Set::<V3, 8, { 8 * MR_DIV_N }, NR, MR_DIV_N> {
                simd,
                tiles: &UKR,
                dots,
            }));
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        use gemm_common::simd::Scalar;
        use gemm_f32::microkernel::neon::f32::{H_M, MR_DIV_N, NR, UKR};
        let dots = H_M > 0;
        return Some(job.with(Set::<Scalar, 4, { 4 * MR_DIV_N }, NR, MR_DIV_N> {
            simd: Scalar,
            tiles: &UKR,
            dots,
        }));
    }
    None
}

/// Kernels that this processor can run: [`with_kernels`] alone makes one, after it has asked for the instructions.
/// `tiles[v - 1][w - 1]` computes v vectors of rows by w columns.
#[derive(Clone, Copy)]
struct Set<S, const N: usize, const MR: usize, const NR: usize, const MR_DIV_N: usize> {
    simd: S,
    tiles: &'static [[MicroKernelFn<f32>; NR]; MR_DIV_N],
    dots: bool,
}

/// Elements from a first one to that of row `rows - 1` and column `columns - 1`, both included.
fn extent((rows, rs): (usize, usize), (columns, cs): (usize, usize)) -> usize {
    if rows == 0 || columns == 0 {
        return 0;
    }
    // Saturating, so that absurd steps fail the comparison instead of passing it by a wrapped value.
    let (down, right) = (
        (rows - 1).saturating_mul(rs),
        (columns - 1).saturating_mul(cs),
    );
    down.saturating_add(right).saturating_add(1)
}

/// `count` lines in tiles of `width` lines by `k`, `stride` apart, fit `to`.
fn tiles_fit(count: usize, width: usize, k: usize, stride: usize, to: &[f32]) -> bool {
    extent((count.div_ceil(width), stride), (width * k, 1)) <= to.len()
}

impl<S: Simd, const N: usize, const MR: usize, const NR: usize, const MR_DIV_N: usize> Kernels
    for Set<S, N, MR, NR, MR_DIV_N>
{
    const N: usize = N;
    const MR: usize = MR;
    const NR: usize = NR;

    fn has_dots(self) -> bool {
        self.dots
    }

    fn pack_left(self, left: Mat<'_, f32>, rows: usize, k: usize, to: &mut [f32], stride: usize) {
        assert!(extent((rows, left.rs), (k, left.cs)) <= left.data.len());
        assert!(tiles_fit(rows, MR, k, stride, to));
        let (from, to) = (left.data.as_ptr(), to.as_mut_ptr());
        // SAFETY: both functions read rows x k elements of the operand, and write at most MR x k elements of each tile.
        // That these lie in the slices was just checked, and the slices cannot overlap. The processor has the
        // instructions of `S`.
        unsafe {
            if left.cs == 1 && left.rs != 1 {
                vectorized(|| pack_rows::<MR>((rows, k), to, (from, left.rs), stride));
            } else {
                let (from, cs, rs) = (Ptr(from.cast_mut()), left.cs as isize, left.rs as isize);
                pack_lhs::<f32, N, MR, S>(self.simd, rows, k, Ptr(to), from, cs, rs, stride);
            }
        }
    }

    fn pack_right(
        self,
        right: Mat<'_, f32>,
        k: usize,
        columns: usize,
        to: &mut [f32],
        stride: usize,
    ) {
        assert!(extent((k, right.rs), (columns, right.cs)) <= right.data.len());
        assert!(tiles_fit(columns, NR, k, stride, to));
        let (from, to) = (Ptr(right.data.as_ptr().cast_mut()), Ptr(to.as_mut_ptr()));
        let (cs, rs) = (right.cs as isize, right.rs as isize);
        // SAFETY: as in `pack_left`, for k x columns elements and tiles of NR columns. `from` is only read.
        unsafe {
            if cfg!(target_arch = "aarch64") {
                pack_rhs::<f32, N, NR, S>(self.simd, columns, k, to, from, cs, rs, stride);
            } else {
                pack_rhs::<f32, 1, NR, S>(self.simd, columns, k, to, from, cs, rs, stride);
            }
        }
    }

    fn multiply(self, t: Tile<'_>) {
        let vectors = t.height.div_ceil(N);
        assert!((1..=MR).contains(&t.height) && (1..=NR).contains(&t.width) && t.depth > 0);
        assert!(extent((vectors * N, 1), (t.depth, t.left_cs)) <= t.left.len());
        assert!(extent((t.depth, t.right.rs), (t.width, t.right.cs)) <= t.right.data.len());
        assert!(extent((t.height, t.dst_rs), (t.width, t.dst_cs)) <= t.dst.len());
        // SAFETY: the kernel reads `vectors` whole vectors of each of `depth` columns of the left operand, depth x
        // width elements of the right one, and reads (if `keep`) and writes height x width elements of the result: all
        // checked just now. The result is borrowed mutably, so no operand lies in it. The processor has the kernel's
        // instructions.
        unsafe {
            self.tiles[vectors - 1][t.width - 1](
                t.height,
                t.width,
                t.depth,
                t.dst.as_mut_ptr(),
                t.left.as_ptr(),
                t.right.data.as_ptr(),
                t.dst_cs as isize,
                t.dst_rs as isize,
                t.left_cs as isize,
                t.right.rs as isize,
                t.right.cs as isize,
                f32::from(u8::from(t.keep)),
                t.alpha,
                // What becomes of the old values: 0, they are left out; 1, they are added.
                u8::from(t.keep),
                false,
                false,
                false,
                std::ptr::null(),
            );
        }
    }
}

/// Packs as the crate's `pack_lhs` does, for rows whose elements are neighbours: tiles of `MR` rows, column by column,
/// zeros below the last row. The crate takes one value of each row in turn. Rows a power of two apart share a cache set
/// and evict each other before their next value is read, so here each row gives a cache line at a time.
///
/// # Safety
/// `from` has `rows` rows of `k` elements, `rs` apart; `to` has tiles of MR x k elements, `stride` apart.
#[inline(always)]
unsafe fn pack_rows<const MR: usize>(
    (rows, k): (usize, usize),
    to: *mut f32,
    (from, rs): (*const f32, usize),
    stride: usize,
) {
    const LINE: usize = 16;
    for first in (0..rows).step_by(MR) {
        let height = MR.min(rows - first);
        for depth in (0..k).step_by(LINE) {
            let width = LINE.min(k - depth);
            // SAFETY: these are elements depth..depth + width of rows first..first + height, and columns of the same
            // depths of the tile, of which the caller says that they exist.
            unsafe {
                let from = from.add(first * rs + depth);
                let to = to.add(first / MR * stride + depth * MR);
                let mut row = 0;
                while width == LINE && row + 4 <= height {
                    let lines =
                        [0, 1, 2, 3].map(|i| from.add((row + i) * rs).cast::<[f32; LINE]>().read());
                    for i in 0..LINE {
                        let four = lines.map(|l| l[i]);
                        to.add(i * MR + row).cast::<[f32; 4]>().write(four);
                    }
                    row += 4;
                }
                for row in row..height {
                    for i in 0..width {
                        *to.add(i * MR + row) = *from.add(row * rs + i);
                    }
                }
                for i in 0..width {
                    std::slice::from_raw_parts_mut(to.add(i * MR + height), MR - height).fill(0.0);
                }
            }
        }
    }
}
