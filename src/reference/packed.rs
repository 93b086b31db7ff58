//! Products of f32 by the kernels of the `gemm` crate, with packed operands in memory that is kept.
//!
//! The crate's own function allocates a place for its packed operands at every call; it has no other. This is what it does on one thread (gemm-common 0.19,
//! `gemm_basic_generic`), with the same choices of blocks and the same kernels, so that results are equal to the bit (tested below; with a packed operand, small products of many terms may add in other blocks). What it computes without packing
//! (vectors, sums of one or two terms, few and long dot products) stays with it, and so do processors whose kernels are not named here.
//!
//! Two things are done otherwise. A right operand that many products share (the filters of a convolution, which its tasks meet one group of images at a time) is packed once
//! ([`pack`]). And rows are packed a cache line of each at a time ([`pack_rows`]).

use super::elementwise::vectorized;
use super::scratch;
use gemm_common::Ptr;
use gemm_common::cache::{CACHE_INFO, KernelParams, kernel_params};
use gemm_common::gemm::{get_lhs_packing_threshold_single_thread, get_rhs_packing_threshold};
use gemm_common::microkernel::MicroKernelFn;
use gemm_common::pack_operands::{pack_lhs, pack_rhs};
use gemm_common::simd::Simd;
use rayon::prelude::*;

/// An operand: its first element, and the steps between rows and between columns.
#[derive(Clone, Copy)]
pub(super) struct Operand {
    pub(super) data: *const f32,
    pub(super) rs: usize,
    pub(super) cs: usize,
}

// SAFETY: a pointer to elements that are only read, of which the unsafe functions here ask that they exist.
unsafe impl Sync for Operand {}

impl Operand {
    fn transposed(self) -> Self {
        Self {
            data: self.data,
            rs: self.cs,
            cs: self.rs,
        }
    }

    fn at(self, row: usize, column: usize) -> Ptr<f32> {
        Ptr(self
            .data
            .wrapping_add(row * self.rs + column * self.cs)
            .cast_mut())
    }
}

/// `dst = (add ? dst : 0) + alpha * lhs rhs`.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) alpha: f32,
    pub(super) lhs: Operand,
    pub(super) rhs: Operand,
    pub(super) dst: *mut f32,
    /// Steps between rows and columns of the result, one of which is 1.
    pub(super) dst_rs: usize,
    pub(super) dst_cs: usize,
    pub(super) add: bool,
    /// The right operand as [`pack`] left it, for a result that is stored by rows.
    pub(super) packed: Option<*const f32>,
}

/// What is done with the kernels of this processor: tiles of `MR` x `NR`, of vectors of `N`. `dots`: the crate has others for dot products.
trait Job {
    type Output;

    /// # Safety
    /// The kernels run on this processor; and what the job asks for.
    unsafe fn with<
        S: Simd,
        const N: usize,
        const MR: usize,
        const NR: usize,
        const MR_DIV_N: usize,
    >(
        self,
        simd: S,
        kernels: &[[MicroKernelFn<f32>; NR]; MR_DIV_N],
        dots: bool,
    ) -> Self::Output;
}

/// Does a job; None where no kernels are known for the processor.
///
/// # Safety
/// What the job asks for.
#[allow(
    unused_variables,
    reason = "not every architecture has kernels that are named here"
)]
unsafe fn with_kernels<J: Job>(job: J) -> Option<J::Output> {
    // SAFETY of all three: the caller's, and the processor has what the kernels are made of.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        use gemm_common::simd::{MixedSimd, V3, V4};
        if let Some(simd) = <V4 as MixedSimd<f32, f32, f32, f32>>::try_new() {
            use gemm_f32::microkernel::avx512f::f32::{H_M, MR_DIV_N, NR, UKR};
            return Some(unsafe {
                job.with::<V4, 16, { 16 * MR_DIV_N }, NR, MR_DIV_N>(simd, &UKR, H_M > 0)
            });
        }
        if let Some(simd) = <V3 as MixedSimd<f32, f32, f32, f32>>::try_new() {
            use gemm_f32::microkernel::fma::f32::{H_M, MR_DIV_N, NR, UKR};
            return Some(unsafe {
                job.with::<V3, 8, { 8 * MR_DIV_N }, NR, MR_DIV_N>(simd, &UKR, H_M > 0)
            });
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        use gemm_common::simd::Scalar;
        use gemm_f32::microkernel::neon::f32::{H_M, MR_DIV_N, NR, UKR};
        return Some(unsafe {
            job.with::<Scalar, 4, { 4 * MR_DIV_N }, NR, MR_DIV_N>(Scalar, &UKR, H_M > 0)
        });
    }
    None
}

/// Steps of the depth that are packed together: a fact of the depth and the kernels alone.
fn depth_block(k: usize, mr: usize, nr: usize) -> usize {
    kernel_params(mr, nr, k, mr, nr, size_of::<f32>()).kc
}

/// Elements of a right operand [k, n] when packed; 0 where no kernels are known for the processor.
pub(super) fn packed_len(k: usize, n: usize) -> usize {
    struct Len(usize, usize);
    impl Job for Len {
        type Output = usize;
        unsafe fn with<
            S: Simd,
            const N: usize,
            const MR: usize,
            const NR: usize,
            const MR_DIV_N: usize,
        >(
            self,
            _: S,
            _: &[[MicroKernelFn<f32>; NR]; MR_DIV_N],
            _: bool,
        ) -> usize {
            let kc = depth_block(self.0, MR, NR);
            self.0.div_ceil(kc) * kc * self.1.next_multiple_of(MR)
        }
    }
    if k == 0 {
        return 0;
    }
    // SAFETY: the job asks for nothing.
    unsafe { with_kernels(Len(k, n)) }.unwrap_or(0)
}

/// Packs a right operand [k, n] for [`Product::packed`] into [`packed_len`] elements, on all threads.
///
/// # Safety
/// The operand's elements exist, and `to` has [`packed_len`] elements.
pub(super) unsafe fn pack(k: usize, n: usize, rhs: Operand, to: &mut [f32]) {
    struct Pack<'a>(usize, usize, Operand, &'a mut [f32]);
    impl Job for Pack<'_> {
        type Output = ();
        unsafe fn with<
            S: Simd,
            const N: usize,
            const MR: usize,
            const NR: usize,
            const MR_DIV_N: usize,
        >(
            self,
            simd: S,
            _: &[[MicroKernelFn<f32>; NR]; MR_DIV_N],
            _: bool,
        ) {
            // The kernels go down columns: what was right is left.
            let Self(k, m, rhs, to) = self;
            let lhs = rhs.transposed();
            let kc = depth_block(k, MR, NR);
            let tile = |(block, i, to): (usize, usize, &mut [f32])| {
                let (depth, row) = (block * kc, i * MR);
                let (rows, width) = (MR.min(m - row), kc.min(k - depth));
                let to = Ptr(to.as_mut_ptr());
                // SAFETY: the caller's, and a tile's place.
                unsafe {
                    lhs.pack::<S, N, MR>(simd, rows, width, to, lhs.at(row, depth), kc * MR);
                }
            };
            to.par_chunks_mut(kc * m.next_multiple_of(MR))
                .enumerate()
                .for_each(|(block, to)| {
                    to.par_chunks_mut(kc * MR)
                        .enumerate()
                        .with_min_len((TASK / (kc * MR)).max(1))
                        .for_each(|(i, to)| tile((block, i, to)));
                });
        }
    }
    /// Elements that are worth a task.
    const TASK: usize = 1 << 16;
    // SAFETY: the caller's.
    unsafe { with_kernels(Pack(k, n, rhs, to)) };
}

/// What the crate's `pack_lhs` does, for rows that lie in memory one by one: tiles of `MR` rows, column by column, zeros below the last row. The crate takes a value of each row in
/// turn; rows a power of two apart share a cache set and put each other out before their next value is read. Here a row gives a cache line at a time.
///
/// # Safety
/// `from` has `rows` rows of `k` elements, `rs` apart; `to` has place for tiles `stride` apart.
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
            // SAFETY: inside the rows, and inside the tile of MR x k elements.
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

impl Operand {
    /// As the crate's `pack_lhs`: `rows` x `k` from `from`.
    ///
    /// # Safety
    /// The elements exist; `to` has place for tiles `stride` apart.
    unsafe fn pack<S: Simd, const N: usize, const MR: usize>(
        self,
        simd: S,
        rows: usize,
        k: usize,
        to: Ptr<f32>,
        from: Ptr<f32>,
        stride: usize,
    ) {
        // SAFETY: the caller's.
        unsafe {
            if self.cs == 1 && self.rs != 1 {
                let (to, from) = (to.0, (from.0.cast_const(), self.rs));
                vectorized(|| pack_rows::<MR>((rows, k), to, from, stride));
            } else {
                let (cs, rs) = (self.cs as isize, self.rs as isize);
                pack_lhs::<f32, N, MR, S>(simd, rows, k, to, from, cs, rs, stride);
            }
        }
    }
}

impl Product {
    /// Computes it on the calling thread; false, and nothing done, when it is the crate's to do.
    ///
    /// # Safety
    /// The operands' and the result's elements exist, and nothing else touches the result's; `packed` is of this right operand.
    pub(super) unsafe fn run(self) -> bool {
        // The kernels go down columns.
        let p = match self.dst_cs < self.dst_rs {
            true => Self {
                m: self.n,
                n: self.m,
                lhs: self.rhs.transposed(),
                rhs: self.lhs.transposed(),
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
        // SAFETY: the caller's.
        unsafe { with_kernels(p) }.unwrap_or(false)
    }
}

impl Job for Product {
    type Output = bool;

    /// Blocks of the right operand, of the depth, of the left operand; in them the kernels' tiles.
    ///
    /// # Safety
    /// As [`Product::run`], for a result that is stored by columns; and the kernels run on this processor.
    unsafe fn with<
        S: Simd,
        const N: usize,
        const MR: usize,
        const NR: usize,
        const MR_DIV_N: usize,
    >(
        self,
        simd: S,
        kernels: &[[MicroKernelFn<f32>; NR]; MR_DIV_N],
        dots: bool,
    ) -> bool {
        let Self {
            m, n, k, lhs, rhs, ..
        } = self;
        // Few and long: the crate's.
        if dots && lhs.cs == 1 && rhs.rs == 1 && m * n <= 16 * 16 {
            return false;
        }
        let KernelParams { kc, mc, nc } = if self.packed.is_none() && m <= 64 && n <= 64 {
            let kc = k.min(512);
            KernelParams {
                kc,
                mc: CACHE_INFO[1].cache_bytes / size_of::<f32>() / kc / MR * MR,
                nc: n.next_multiple_of(NR),
            }
        } else {
            kernel_params(m, n, k, MR, NR, size_of::<f32>())
        };
        // The crate's rules for odd caches.
        let (mc, nc) = (mc.max(MR), if nc > 0 { nc } else { 128 * NR });
        let (rhs_stride, lhs_stride) = (kc * NR, kc * MR);

        let many_rows = m > get_rhs_packing_threshold() * MR;
        let packs_rhs = match cfg!(target_arch = "aarch64") {
            true => many_rows,
            false if rhs.rs == 1 => many_rows,
            false => m > 2 * MR,
        };
        let packs_all_lhs =
            self.packed.is_none() && m <= 2 * mc && (!m.is_multiple_of(N) || lhs.rs != 1);
        let lhs_rows = match (self.packed, packs_all_lhs) {
            (Some(_), _) => 0,
            (_, true) => m,
            (_, false) => mc.min(m),
        };
        let rhs_len = if packs_rhs { kc * nc } else { 0 };
        let mut buffer = scratch::local::<f32>(rhs_len + lhs_stride * lhs_rows.div_ceil(MR));
        let [packed_rhs, packed_lhs] = {
            let (rhs, lhs) = buffer.split_at_mut(rhs_len);
            [Ptr(rhs.as_mut_ptr()), Ptr(lhs.as_mut_ptr())]
        };

        for column in (0..n).step_by(nc) {
            let columns = nc.min(n - column);
            for depth in (0..k).step_by(kc) {
                let kb = kc.min(k - depth);
                // What was there: 0 is left out, 1 taken over.
                let keep = self.add || depth > 0;
                if packs_rhs {
                    let from = rhs.at(depth, column);
                    let (cs, rs) = (rhs.cs as isize, rhs.rs as isize);
                    // SAFETY: the operand's elements by the contract; `buffer` has kc * nc for them.
                    unsafe {
                        if cfg!(target_arch = "aarch64") {
                            pack_rhs::<f32, N, NR, S>(
                                simd, columns, kb, packed_rhs, from, cs, rs, rhs_stride,
                            );
                        } else {
                            pack_rhs::<f32, 1, NR, S>(
                                simd, columns, kb, packed_rhs, from, cs, rs, rhs_stride,
                            );
                        }
                    }
                }
                let pack = |rows: usize, to: Ptr<f32>, row: usize| {
                    let from = lhs.at(row, depth);
                    // SAFETY: the operand's elements by the contract; `buffer` has place for all tiles that are packed at once.
                    unsafe { lhs.pack::<S, N, MR>(simd, rows, kb, to, from, lhs_stride) };
                };
                // All tiles of the left operand, from here to this depth.
                let ready = self.packed.map(|p| {
                    let tiles = m.div_ceil(MR) * lhs_stride;
                    Ptr(p.wrapping_add(depth / kc * tiles).cast_mut())
                });
                if packs_all_lhs {
                    pack(m, packed_lhs, 0);
                }
                let mut first = 0;
                while first < m {
                    let mut rows = mc.min(m - first);
                    if rows > N && !packs_all_lhs && ready.is_none() {
                        rows = rows / N * N;
                    }
                    let packs_lhs = !packs_all_lhs
                        && ready.is_none()
                        && (!rows.is_multiple_of(N)
                            || lhs.rs != 1
                            || columns > get_lhs_packing_threshold_single_thread() * NR);
                    for j in (0..columns).step_by(NR) {
                        let width = NR.min(columns - j);
                        let (right, right_rs, right_cs) = match packs_rhs {
                            true => (packed_rhs.wrapping_add(j / NR * rhs_stride), NR, 1),
                            false => (rhs.at(depth, column + j), rhs.rs, rhs.cs),
                        };
                        for i in (0..rows).step_by(MR) {
                            let (row, height) = (first + i, MR.min(rows - i));
                            let packed = match (ready, packs_all_lhs) {
                                (Some(all), _) => all.wrapping_add(row / MR * lhs_stride),
                                (_, true) => packed_lhs.wrapping_add(row / MR * lhs_stride),
                                (_, false) => packed_lhs.wrapping_add(i / MR * lhs_stride),
                            };
                            if packs_lhs && j == 0 {
                                pack(height, packed, row);
                            }
                            let (left, left_cs) =
                                match packs_all_lhs || packs_lhs || ready.is_some() {
                                    true => (packed, MR),
                                    false => (lhs.at(row, depth), lhs.cs),
                                };
                            let to = row * self.dst_rs + (column + j) * self.dst_cs;
                            // SAFETY: a tile inside the result; operands as packed, or where they were.
                            unsafe {
                                kernels[height.div_ceil(N) - 1][width - 1](
                                    height,
                                    width,
                                    kb,
                                    self.dst.wrapping_add(to),
                                    left.0,
                                    right.0,
                                    self.dst_cs as isize,
                                    self.dst_rs as isize,
                                    left_cs as isize,
                                    right_rs as isize,
                                    right_cs as isize,
                                    f32::from(u8::from(keep)),
                                    self.alpha,
                                    u8::from(keep),
                                    false,
                                    false,
                                    false,
                                    std::ptr::null(),
                                );
                            }
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
