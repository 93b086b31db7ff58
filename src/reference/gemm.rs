//! Twin of `shaders/gemm.wgsl`: matrix products over the `gemm` crate.

use super::packed::{self, Product};
use super::{Scalar, scratch};
use rayon::prelude::*;
use std::any::TypeId;

/// A matrix in memory: first element's slice, step between rows, step between columns.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a, T> {
    /// Elements.
    pub data: &'a [T],
    /// Step between rows.
    pub rs: usize,
    /// Step between columns.
    pub cs: usize,
}

impl<'a, T: bytemuck::Pod> Mat<'a, T> {
    /// The same with elements of type f32, when `T` is f32.
    fn f32s(&self) -> Mat<'a, f32> {
        Mat {
            data: bytemuck::cast_slice(self.data),
            rs: self.rs,
            cs: self.cs,
        }
    }

    /// Does the slice hold a matrix of these rows and columns?
    fn holds(&self, rows: usize, columns: usize) -> bool {
        let last = (rows.max(1) - 1) * self.rs + (columns.max(1) - 1) * self.cs;
        rows == 0 || columns == 0 || last < self.data.len()
    }
}

/// A right operand, and the same packed by `pack` or nothing.
#[derive(Clone, Copy, Debug)]
pub struct Right<'a, T> {
    /// As it is stored.
    pub mat: Mat<'a, T>,
    /// As `pack` made it; empty where it did not.
    pub packed: &'a [T],
}

impl<'a, T> From<Mat<'a, T>> for Right<'a, T> {
    fn from(mat: Mat<'a, T>) -> Self {
        Self { mat, packed: &[] }
    }
}

/// Elements that [`pack`] needs for a right operand [k,n]. None in f64, and on processors without kernels of ours,
/// where packing gains nothing.
pub(super) fn packed_len<T: Scalar>(k: usize, n: usize) -> usize {
    match TypeId::of::<T>() == TypeId::of::<f32>() && n > 1 {
        true => packed::packed_len(k, n),
        false => 0,
    }
}

/// Packs a right operand [k,n] that many products share into `to` of [`packed_len`] elements, on all threads. Does
/// nothing when `to` is empty.
///
/// # Panics
/// When a slice is too short.
pub(super) fn pack<T: Scalar>(k: usize, n: usize, rhs: Mat<'_, T>, to: &mut [T]) {
    if !to.is_empty() {
        assert!(rhs.holds(k, n) && to.len() == packed_len::<T>(k, n));
        // Only f32 is packed: there `packed_len` is not 0.
        packed::pack(k, n, rhs.f32s(), bytemuck::cast_slice_mut(to));
    }
}

/// `dst = (add ? dst : 0) + alpha * lhs rhs`; dst [m,n] row-major with row step `dst_rs`, on the calling thread.
///
/// # Panics
/// When a slice is too short for its shape.
#[allow(
    clippy::too_many_arguments,
    reason = "a matrix product has this many facts"
)]
pub fn product<'a, T: Scalar>(
    m: usize,
    n: usize,
    k: usize,
    alpha: T,
    lhs: Mat<'_, T>,
    rhs: impl Into<Right<'a, T>>,
    dst: &mut [T],
    dst_rs: usize,
    add: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    let Right { mat: rhs, packed } = rhs.into();
    assert!(lhs.holds(m, k) && rhs.holds(k, n));
    assert!(packed.is_empty() || packed.len() == packed_len::<T>(k, n));
    assert!((m - 1) * dst_rs + n <= dst.len());
    if TypeId::of::<T>() == TypeId::of::<f32>() {
        let p = Product {
            m,
            n,
            k,
            alpha: alpha.f64() as f32,
            lhs: lhs.f32s(),
            rhs: rhs.f32s(),
            dst: bytemuck::cast_slice_mut(dst),
            dst_rs,
            dst_cs: 1,
            add,
            packed: (!packed.is_empty()).then(|| bytemuck::cast_slice(packed)),
        };
        if p.run() {
            return;
        }
    }
    // SAFETY: the three ranges were just checked against their slices; dst is exclusively borrowed.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            dst_rs as isize,
            add,
            lhs.data.as_ptr(),
            lhs.cs as isize,
            lhs.rs as isize,
            rhs.data.as_ptr(),
            rhs.cs as isize,
            rhs.rs as isize,
            T::one(),
            alpha,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Shape and form of a batched product.
#[derive(Clone, Copy, Debug)]
pub struct GemmDims {
    /// Batch.
    pub batch: usize,
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// Step between A's of the batch (0: one for all).
    pub stride_a: usize,
    /// Step between B's of the batch (0: one for all).
    pub stride_b: usize,
    /// Step between biases of the batch (0: one for all).
    pub stride_bias: usize,
    /// A is stored [k,m].
    pub trans_a: bool,
    /// B is stored [n,k].
    pub trans_b: bool,
    /// C sums over the batch.
    pub sum_batch: bool,
    /// Clamp at zero.
    pub relu: bool,
}

/// Rows of C that one task computes.
const ROWS: usize = 64;

/// `C[b] = act(alpha * A[b] B[b] + bias[b])`.
pub fn gemm<T: Scalar>(d: &GemmDims, alpha: T, a: &[T], b: &[T], bias: Option<&[T]>, c: &mut [T]) {
    let lhs = |s: usize, row: usize| {
        let base = &a[s * d.stride_a..];
        if d.trans_a {
            Mat {
                data: &base[row..],
                rs: 1,
                cs: d.m,
            }
        } else {
            Mat {
                data: &base[row * d.k..],
                rs: d.k,
                cs: 1,
            }
        }
    };
    let rhs = |s: usize| {
        let base = &b[s * d.stride_b..];
        if d.trans_b {
            Mat {
                data: base,
                rs: 1,
                cs: d.k,
            }
        } else {
            Mat {
                data: base,
                rs: d.n,
                cs: 1,
            }
        }
    };
    let finish = |s: usize, rows: &mut [T]| {
        for row in rows.chunks_mut(d.n) {
            if let Some(bias) = bias {
                row.iter_mut()
                    .zip(&bias[s * d.stride_bias..])
                    .for_each(|(c, b)| *c += *b);
            }
            if d.relu {
                row.iter_mut().for_each(|c| *c = c.at_least(T::zero()));
            }
        }
    };
    let matrices = if d.sum_batch { 1 } else { d.batch };
    debug_assert_eq!(c.len(), matrices * d.m * d.n);
    // Rows in several tasks share B.
    let rights = if d.stride_b == 0 { 1 } else { d.batch };
    let len = if d.m > ROWS {
        packed_len::<T>(d.k, d.n)
    } else {
        0
    };
    let mut packed = scratch::shared(rights * len);
    for (s, to) in packed.chunks_mut(len.max(1)).enumerate() {
        pack(d.k, d.n, rhs(s), to);
    }
    let packed = &packed[..];
    let rhs = |s: usize| Right {
        mat: rhs(s),
        packed: &packed[s % rights * len..][..len],
    };
    c.par_chunks_mut(d.m * d.n).enumerate().for_each(|(s, c)| {
        c.par_chunks_mut(ROWS * d.n)
            .enumerate()
            .for_each(|(i, rows)| {
                let (first, m) = (i * ROWS, rows.len() / d.n);
                if d.sum_batch {
                    for t in 0..d.batch {
                        product(m, d.n, d.k, alpha, lhs(t, first), rhs(t), rows, d.n, t > 0);
                    }
                } else {
                    product(m, d.n, d.k, alpha, lhs(s, first), rhs(s), rows, d.n, false);
                }
                finish(s, rows);
            });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_definition() {
        let (m, n, k, batch) = (5, 7, 3, 2);
        let a: Vec<f64> = (0..batch * m * k).map(|i| (i as f64 * 0.7).sin()).collect();
        let b: Vec<f64> = (0..batch * n * k).map(|i| (i as f64 * 0.3).cos()).collect();
        for (trans_a, trans_b, sum_batch) in [
            (false, false, false),
            (true, false, true),
            (false, true, false),
            (true, true, true),
        ] {
            let d = GemmDims {
                batch,
                m,
                n,
                k,
                stride_a: m * k,
                stride_b: n * k,
                stride_bias: 0,
                trans_a,
                trans_b,
                sum_batch,
                relu: false,
            };
            let mut c = vec![f64::NAN; if sum_batch { m * n } else { batch * m * n }];
            gemm(&d, 2.0, &a, &b, None, &mut c);
            for s in 0..if sum_batch { 1 } else { batch } {
                for i in 0..m {
                    for j in 0..n {
                        let mut want = 0.0;
                        for t in if sum_batch { 0..batch } else { s..s + 1 } {
                            for q in 0..k {
                                let x = a[t * m * k + if trans_a { q * m + i } else { i * k + q }];
                                let y = b[t * n * k + if trans_b { j * k + q } else { q * n + j }];
                                want += 2.0 * x * y;
                            }
                        }
                        assert!((c[s * m * n + i * n + j] - want).abs() < 1e-12);
                    }
                }
            }
        }
    }
}
