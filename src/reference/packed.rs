//! Products of f32 by the kernels of the `gemm` crate, with packed operands in memory that is kept.
//!
//! The crate's own function allocates a place for its packed operands at every call; it has no other. This is what it does on one thread (gemm-common 0.18,
//! `gemm_basic_generic`), with the same choices of blocks and packing and the same kernels, so that results are equal to the bit (tested below). What it computes without packing
//! (vectors, sums of one or two terms, few and long dot products) stays with it, and so do processors whose kernels are not named here.

use super::scratch;
use gemm_common::Ptr;
use gemm_common::cache::{CACHE_INFO, KernelParams, kernel_params};
use gemm_common::gemm::{get_lhs_packing_threshold_single_thread, get_rhs_packing_threshold};
use gemm_common::microkernel::MicroKernelFn;
use gemm_common::pack_operands::{pack_lhs, pack_rhs};
use gemm_common::simd::Simd;

/// An operand: its first element, and the steps between rows and between columns.
#[derive(Clone, Copy)]
pub(super) struct Operand {
    pub(super) data: *const f32,
    pub(super) rs: usize,
    pub(super) cs: usize,
}

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
}

impl Product {
    /// Computes it on the calling thread; false, and nothing done, when it is the crate's to do.
    ///
    /// # Safety
    /// The operands' and the result's elements exist, and nothing else touches the result's.
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
            false => self,
        };
        let (l, r) = (p.lhs, p.rhs);
        let column = p.n <= 1 && (l.rs == 1 && p.dst_rs == 1 || l.cs == 1 && r.rs == 1);
        let row = p.m <= 1 && (r.cs == 1 && p.dst_cs == 1 || r.rs == 1 && l.cs == 1);
        if p.m == 0 || p.n == 0 || p.k <= 2 || column || row {
            return false;
        }
        // Where the crate has kernels for dot products.
        let dots = |h_m: usize| h_m > 0 && l.cs == 1 && r.rs == 1 && p.m * p.n <= 16 * 16;
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        {
            use gemm_common::simd::{MixedSimd, V3};
            use gemm_f32::microkernel::fma::f32::{H_M, MR_DIV_N, NR, UKR};
            if let Some(simd) = <V3 as MixedSimd<f32, f32, f32, f32>>::try_new()
                && !dots(H_M)
            {
                // SAFETY: the caller's, and the processor has what the kernels are made of.
                unsafe { p.blocks::<V3, 8, { 8 * MR_DIV_N }, NR, MR_DIV_N>(simd, &UKR) };
                return true;
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            use gemm_common::simd::Scalar;
            use gemm_f32::microkernel::neon::f32::{H_M, MR_DIV_N, NR, UKR};
            if std::arch::is_aarch64_feature_detected!("neon") && !dots(H_M) {
                // SAFETY: the caller's, and the processor has what the kernels are made of.
                unsafe { p.blocks::<Scalar, 4, { 4 * MR_DIV_N }, NR, MR_DIV_N>(Scalar, &UKR) };
                return true;
            }
        }
        false
    }

    /// Blocks of the right operand, of the depth, of the left operand; in them the kernels' tiles of `MR` x `NR`, of vectors of `N`.
    ///
    /// # Safety
    /// As [`Product::run`]; and the kernels run on this processor.
    #[allow(
        dead_code,
        reason = "not every architecture has kernels that are named here"
    )]
    unsafe fn blocks<
        S: Simd,
        const N: usize,
        const MR: usize,
        const NR: usize,
        const MR_DIV_N: usize,
    >(
        self,
        simd: S,
        kernels: &[[MicroKernelFn<f32>; NR]; MR_DIV_N],
    ) {
        let Self {
            m, n, k, lhs, rhs, ..
        } = self;
        let KernelParams { kc, mc, nc } = if m <= 64 && n <= 64 {
            let kc = k.min(512);
            KernelParams {
                kc,
                mc: CACHE_INFO[1].cache_bytes / size_of::<f32>() / kc / MR * MR,
                nc: n.next_multiple_of(NR),
            }
        } else {
            kernel_params(m, n, k, MR, NR, size_of::<f32>())
        };
        let nc = if nc > 0 { nc } else { 128 * NR };
        let (rhs_stride, lhs_stride) = (kc * NR, kc * MR);

        let many_rows = m > get_rhs_packing_threshold() * MR;
        let packs_rhs = match cfg!(target_arch = "aarch64") {
            true => many_rows,
            false if rhs.rs == 1 => many_rows,
            false => m > 2 * MR,
        };
        let packs_all_lhs = m <= 2 * mc && (!m.is_multiple_of(N) || lhs.rs != 1);
        let lhs_rows = if packs_all_lhs { m } else { mc.min(m) };
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
                    let (cs, rs) = (lhs.cs as isize, lhs.rs as isize);
                    let from = lhs.at(row, depth);
                    // SAFETY: the operand's elements by the contract; `buffer` has place for all tiles that are packed at once.
                    unsafe {
                        pack_lhs::<f32, N, MR, S>(simd, rows, kb, to, from, cs, rs, lhs_stride)
                    };
                };
                if packs_all_lhs {
                    pack(m, packed_lhs, 0);
                }
                let mut first = 0;
                while first < m {
                    let mut rows = mc.min(m - first);
                    if rows > N && !packs_all_lhs {
                        rows = rows / N * N;
                    }
                    let packs_lhs = !packs_all_lhs
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
                            let packed = match packs_all_lhs {
                                true => packed_lhs.wrapping_add(row / MR * lhs_stride),
                                false => packed_lhs.wrapping_add(i / MR * lhs_stride),
                            };
                            if packs_lhs && j == 0 {
                                pack(height, packed, row);
                            }
                            let (left, left_cs) = match packs_all_lhs || packs_lhs {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal to the crate's own function to the bit: shapes around the tiles and blocks, all storage orders, with and without what was there.
    #[test]
    fn equals_the_crates_own_function() {
        let value = |i: usize| ((i * 7919) % 1009) as f32 / 504.5 - 1.0;
        let shapes = [
            (1, 1, 3),
            (3, 2, 5),
            (24, 4, 8),
            (25, 5, 9),
            (48, 100, 33),
            (64, 64, 600),
            (49, 200, 64),
            (200, 49, 64),
            (96, 128, 1500),
            (500, 72, 130),
            (8, 300, 40),
            (1030, 20, 17),
        ];
        for (m, n, k) in shapes {
            let a: Vec<f32> = (0..m * k).map(value).collect();
            let b: Vec<f32> = (0..n * k).map(|i| value(i + 31)).collect();
            for (lhs_t, rhs_t, add) in (0..8).map(|i| (i & 1 > 0, i & 2 > 0, i & 4 > 0)) {
                let (lhs_rs, lhs_cs) = if lhs_t { (1, m) } else { (k, 1) };
                let (rhs_rs, rhs_cs) = if rhs_t { (1, k) } else { (n, 1) };
                let mut want: Vec<f32> = (0..m * n).map(|i| value(i + 5)).collect();
                let mut got = want.clone();
                let p = Product {
                    m,
                    n,
                    k,
                    alpha: 1.25,
                    lhs: Operand {
                        data: a.as_ptr(),
                        rs: lhs_rs,
                        cs: lhs_cs,
                    },
                    rhs: Operand {
                        data: b.as_ptr(),
                        rs: rhs_rs,
                        cs: rhs_cs,
                    },
                    dst: got.as_mut_ptr(),
                    dst_rs: n,
                    dst_cs: 1,
                    add,
                };
                // SAFETY: the vectors hold m k, k n and m n elements.
                let done = unsafe {
                    gemm::gemm(
                        m,
                        n,
                        k,
                        want.as_mut_ptr(),
                        1,
                        n as isize,
                        add,
                        a.as_ptr(),
                        lhs_cs as isize,
                        lhs_rs as isize,
                        b.as_ptr(),
                        rhs_cs as isize,
                        rhs_rs as isize,
                        1.0,
                        1.25,
                        false,
                        false,
                        false,
                        gemm::Parallelism::None,
                    );
                    p.run()
                };
                assert!(!done || got == want, "{m} {n} {k} {lhs_t} {rhs_t} {add}");
                // The large ones, not left to the crate: they are what it would allocate for.
                #[cfg(target_arch = "x86_64")]
                if m * n > 16 * 16
                    && is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                {
                    assert!(done, "{m} {n} {k}");
                }
            }
        }
    }
}
