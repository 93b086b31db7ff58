//! Twin of `shaders/layer_norm_grad.wgsl`.

use super::elementwise::{Work, vectorized_work};
use super::layer_norm::{ROWS, two_sums};
use super::{Scalar, scratch};
use rayon::prelude::*;

/// Operands: dy, x [rows,d], w [d], mean, rstd [rows].
#[derive(Clone, Copy, Debug)]
pub struct LayerNormGrad<'a, T> {
    /// Upstream gradient.
    pub dy: &'a [T],
    /// Input of the forward pass.
    pub x: &'a [T],
    /// Scale.
    pub w: &'a [T],
    /// Mean of every row.
    pub mean: &'a [T],
    /// 1 / deviation of every row.
    pub rstd: &'a [T],
}

/// Some rows: the operands of all, their first, dx, and sums for dw and db.
struct Rows<'a, T>(
    &'a LayerNormGrad<'a, T>,
    usize,
    &'a mut [T],
    [&'a mut [T]; 2],
);

impl<T: Scalar> Work for Rows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        let Self(of, first, dx, [sw, sb]) = self;
        let (d, n) = (of.w.len(), T::of(of.w.len() as f64));
        let (w, sw, sb) = (&of.w[..d], &mut sw[..d], &mut sb[..d]);
        for (i, dx) in dx.chunks_exact_mut(d).enumerate() {
            let row = first + i;
            let (dy, x) = (&of.dy[row * d..][..d], &of.x[row * d..][..d]);
            let (m, r, dx) = (of.mean[row], of.rstd[row], &mut dx[..d]);
            let (one, two) = two_sums([dy, x, w], |[dy, x, w]| {
                let g = dy * w;
                (g, g * ((x - m) * r))
            });
            let (one, two) = (one / n, two / n);
            for j in 0..d {
                let h = (x[j] - m) * r;
                sw[j] += dy[j] * h;
                sb[j] += dy[j];
                dx[j] = (dy[j] * w[j] - one - h * two) * r;
            }
        }
    }
}

impl<T: Scalar> LayerNormGrad<'_, T> {
    /// `dx`, `dw`, `db`. The sums over rows are made for [`ROWS`] rows at a time, and these are added in order.
    pub fn run(&self, dx: &mut [T], dw: &mut [T], db: &mut [T]) {
        let d = self.w.len();
        let mut parts = scratch::shared::<T>(self.mean.len().div_ceil(ROWS) * 2 * d);
        let blocks = dx.par_chunks_mut(ROWS * d).zip(parts.par_chunks_mut(2 * d));
        blocks.enumerate().for_each(|(block, (dx, part))| {
            part.fill(T::zero());
            let (sw, sb) = part.split_at_mut(d);
            vectorized_work(Rows(self, block * ROWS, dx, [sw, sb]));
        });
        dw.fill(T::zero());
        db.fill(T::zero());
        for part in parts.chunks_exact(2 * d) {
            for j in 0..d {
                dw[j] += part[j];
                db[j] += part[d + j];
            }
        }
    }
}
