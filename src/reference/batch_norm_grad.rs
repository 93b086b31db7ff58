//! Twin of `shaders/batch_norm_grad.wgsl`.

use super::Scalar;
use super::batch_norm::ROWS;
use super::elementwise::vectorized;
use super::scratch::{self, split};
use rayon::prelude::*;

/// What a ReLU let through.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a, T> {
    /// There was none: all.
    None,
    /// Where the forward output [m,c], which a residual went into, is positive.
    Output(&'a [T]),
    /// Where gamma xhat + beta is, beta [c].
    Beta(&'a [T]),
}

/// Operands: x [m,c], dy alike, gamma, mean, var [c].
#[derive(Clone, Copy, Debug)]
pub struct BatchNormGrad<'a, T> {
    /// Added to the variance.
    pub eps: T,
    /// Upstream gradient.
    pub dy: &'a [T],
    /// Input of the forward pass.
    pub x: &'a [T],
    /// Of the ReLU that ended the forward pass.
    pub mask: Mask<'a, T>,
    /// Scale.
    pub gamma: &'a [T],
    /// Batch mean.
    pub mean: &'a [T],
    /// Batch variance (biased).
    pub var: &'a [T],
}

impl<T: Scalar> BatchNormGrad<'_, T> {
    /// Calls `f(channel, upstream gradient behind the ReLU's mask, x)` for the elements of a row that starts at `at`.
    /// `scale` equals the forward pass's to the bit, so that the mask does too.
    #[inline(always)]
    fn row(&self, scale: &[T], at: usize, mut f: impl FnMut(usize, T, T)) {
        let c = self.gamma.len();
        let (dy, x) = (&self.dy[at..at + c], &self.x[at..at + c]);
        // The gradient is read whatever the mask is: a conditional read would be a branch that is mispredicted half the
        // time.
        let behind = |g: T, y: T| y.lets_through(g);
        match self.mask {
            Mask::None => (0..c).for_each(|j| f(j, dy[j], x[j])),
            Mask::Output(y) => {
                let y = &y[at..at + c];
                (0..c).for_each(|j| f(j, behind(dy[j], y[j]), x[j]));
            }
            Mask::Beta(beta) => {
                let (scale, mean, beta) = (&scale[..c], &self.mean[..c], &beta[..c]);
                let y = |j: usize| (x[j] - mean[j]) * scale[j] + beta[j];
                (0..c).for_each(|j| f(j, behind(dy[j], y(j)), x[j]));
            }
        }
    }

    /// `dgamma`, `dbeta`, `dx`, and the residual's gradient when there was one.
    pub fn run(
        &self,
        dx: &mut [T],
        dgamma: &mut [T],
        dbeta: &mut [T],
        dresidual: Option<&mut [T]>,
    ) {
        self.sums(dgamma, dbeta);
        let rows = self.x.len() / self.gamma.len();
        self.apply(rows, [dgamma, dbeta], dx, dresidual);
    }

    /// `1 / sqrt(var + eps)`, and `gamma` over that root, which equals the forward pass's to the bit.
    fn scales(&self, inv: &mut [T], scale: &mut [T]) {
        for (i, v) in inv.iter_mut().zip(self.var) {
            *i = T::one() / (*v + self.eps).sqrt();
        }
        for (s, (g, v)) in scale.iter_mut().zip(self.gamma.iter().zip(self.var)) {
            *s = *g / (*v + self.eps).sqrt();
        }
    }

    /// `dgamma` and `dbeta` of these rows.
    pub fn sums(&self, dgamma: &mut [T], dbeta: &mut [T]) {
        let c = self.gamma.len();
        let blocks = self.x.len().div_ceil(ROWS * c);
        let mut memory = scratch::shared(blocks * 2 * c + 2 * c);
        let [parts, scale, inv] = split(&mut memory, [blocks * 2 * c, c, c]);
        self.scales(inv, scale);
        let (inv, scale) = (&*inv, &*scale);
        parts
            .par_chunks_mut(2 * c)
            .enumerate()
            .for_each(|(b, part)| {
                part.fill(T::zero());
                let (g0, g1) = part.split_at_mut(c);
                let end = ((b + 1) * ROWS * c).min(self.x.len());
                vectorized(|| {
                    let (g0, g1, mean) = (&mut g0[..c], &mut g1[..c], &self.mean[..c]);
                    for row in (b * ROWS * c..end).step_by(c) {
                        // Centred here, scaled by the deviation once at the end.
                        self.row(scale, row, |j, g, x| {
                            g0[j] += g;
                            g1[j] += g * (x - mean[j]);
                        });
                    }
                });
                g1.iter_mut().zip(inv).for_each(|(s, i)| *s *= *i);
            });
        dbeta.fill(T::zero());
        dgamma.fill(T::zero());
        for part in parts.chunks(2 * c) {
            for j in 0..c {
                dbeta[j] += part[j];
                dgamma[j] += part[c + j];
            }
        }
    }

    /// What the ReLU lets through of dy, as dy.
    pub fn masked(&self, out: &mut [T]) {
        let c = self.gamma.len();
        let mut memory = scratch::shared(2 * c);
        let [scale, inv] = split(&mut memory, [c, c]);
        self.scales(inv, scale);
        let scale = &*scale;
        let blocks = out.par_chunks_mut(ROWS * c).enumerate();
        blocks.for_each(|(b, out)| {
            for (r, out) in out.chunks_exact_mut(c).enumerate() {
                self.row(scale, (b * ROWS + r) * c, |j, g, _| out[j] = g);
            }
        });
    }

    /// `dx`, and the residual's gradient, from `dgamma` and `dbeta` of all rows that the statistics are of, which are
    /// `count` and more than these where several share them.
    pub fn apply(
        &self,
        count: usize,
        [dgamma, dbeta]: [&[T]; 2],
        dx: &mut [T],
        dresidual: Option<&mut [T]>,
    ) {
        let c = self.gamma.len();
        let m = T::of(count as f64);
        let mut memory = scratch::shared(5 * c);
        let [scale, inv, k, shift, slope] = split(&mut memory, [c, c, c, c, c]);
        self.scales(inv, scale);
        let (inv, scale) = (&*inv, &*scale);
        // With k = gamma inv, dx = k (g - dbeta/m - xhat dgamma/m) = k g - (k dbeta/m) - (x - mean) (k inv dgamma/m):
        // three factors a channel.
        for j in 0..c {
            k[j] = self.gamma[j] * inv[j];
            shift[j] = k[j] * dbeta[j] / m;
            slope[j] = k[j] * inv[j] * dgamma[j] / m;
        }
        let factors = (&k[..c], &shift[..c], &self.mean[..c], &slope[..c]);
        let of_rows = |b: usize, dx: &mut [T], mut dr: Option<&mut [T]>| {
            let (k, shift, mean, slope) = factors;
            vectorized(|| {
                for (r, dx) in dx.chunks_exact_mut(c).enumerate() {
                    let at = (b * ROWS + r) * c;
                    let value =
                        |j: usize, g: T, x: T| k[j] * g - shift[j] - (x - mean[j]) * slope[j];
                    match &mut dr {
                        None => self.row(scale, at, |j, g, x| dx[j] = value(j, g, x)),
                        Some(dr) => {
                            let dr = &mut dr[r * c..(r + 1) * c];
                            self.row(scale, at, |j, g, x| {
                                dr[j] = g;
                                dx[j] = value(j, g, x);
                            });
                        }
                    }
                }
            });
        };
        let blocks = dx.par_chunks_mut(ROWS * c).enumerate();
        match dresidual {
            None => blocks.for_each(|(b, dx)| of_rows(b, dx, None)),
            Some(dr) => blocks
                .zip(dr.par_chunks_mut(ROWS * c))
                .for_each(|((b, dx), dr)| of_rows(b, dx, Some(dr))),
        }
    }
}
