//! Twin of `shaders/batch_norm_grad.wgsl`.

use super::Scalar;
use super::batch_norm::ROWS;
use rayon::prelude::*;

/// Operands: x [m,c], dy alike, y for the ReLU mask (`None`: no ReLU), gamma, mean, var [c].
#[derive(Clone, Copy, Debug)]
pub struct BatchNormGrad<'a, T> {
    /// Added to the variance.
    pub eps: T,
    /// Upstream gradient.
    pub dy: &'a [T],
    /// Input of the forward pass.
    pub x: &'a [T],
    /// Output of the forward pass, when a ReLU ended it.
    pub y: Option<&'a [T]>,
    /// Scale.
    pub gamma: &'a [T],
    /// Batch mean.
    pub mean: &'a [T],
    /// Batch variance (biased).
    pub var: &'a [T],
}

impl<T: Scalar> BatchNormGrad<'_, T> {
    fn upstream(&self, i: usize) -> T {
        match self.y {
            Some(y) if y[i] <= T::zero() => T::zero(),
            _ => self.dy[i],
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
        let c = self.gamma.len();
        let m = T::of((self.x.len() / c) as f64);
        let inv: Vec<T> = self
            .var
            .iter()
            .map(|v| T::one() / (*v + self.eps).sqrt())
            .collect();
        let blocks = self.x.len().div_ceil(ROWS * c);
        let parts: Vec<(Vec<T>, Vec<T>)> = (0..blocks)
            .into_par_iter()
            .map(|b| {
                let (mut g0, mut g1) = (vec![T::zero(); c], vec![T::zero(); c]);
                for row in (b * ROWS * c..((b + 1) * ROWS * c).min(self.x.len())).step_by(c) {
                    for j in 0..c {
                        let g = self.upstream(row + j);
                        g0[j] += g;
                        g1[j] += g * ((self.x[row + j] - self.mean[j]) * inv[j]);
                    }
                }
                (g0, g1)
            })
            .collect();
        dbeta.fill(T::zero());
        dgamma.fill(T::zero());
        for (g0, g1) in parts {
            for j in 0..c {
                dbeta[j] += g0[j];
                dgamma[j] += g1[j];
            }
        }
        let (dgamma, dbeta) = (&*dgamma, &*dbeta);
        dx.par_chunks_mut(ROWS * c)
            .enumerate()
            .for_each(|(b, rows)| {
                for (r, dx) in rows.chunks_mut(c).enumerate() {
                    let row = (b * ROWS + r) * c;
                    for j in 0..c {
                        let xhat = (self.x[row + j] - self.mean[j]) * inv[j];
                        dx[j] = self.gamma[j]
                            * inv[j]
                            * (self.upstream(row + j) - dbeta[j] / m - xhat * dgamma[j] / m);
                    }
                }
            });
        if let Some(dr) = dresidual {
            dr.par_chunks_mut(ROWS * c)
                .enumerate()
                .for_each(|(b, rows)| {
                    rows.iter_mut()
                        .enumerate()
                        .for_each(|(i, d)| *d = self.upstream(b * ROWS * c + i))
                });
        }
    }
}
