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
    /// The upstream gradient of elements from `at` on, behind the ReLU's mask.
    fn upstream(&self, at: usize, out: &mut [T]) {
        let dy = &self.dy[at..at + out.len()];
        match self.y {
            None => out.copy_from_slice(dy),
            Some(y) => {
                let y = &y[at..at + out.len()];
                for ((o, g), y) in out.iter_mut().zip(dy).zip(y) {
                    *o = if *y <= T::zero() { T::zero() } else { *g };
                }
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
                let mut up = vec![T::zero(); c];
                let end = ((b + 1) * ROWS * c).min(self.x.len());
                for row in (b * ROWS * c..end).step_by(c) {
                    self.upstream(row, &mut up);
                    let x = &self.x[row..row + c];
                    for (s, g) in g0.iter_mut().zip(&up) {
                        *s += *g;
                    }
                    // Centred here, scaled by the deviation once at the end.
                    for (((s, g), x), m) in g1.iter_mut().zip(&up).zip(x).zip(self.mean) {
                        *s += *g * (*x - *m);
                    }
                }
                g1.iter_mut().zip(&inv).for_each(|(s, i)| *s *= *i);
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
        // dx = k (g - dbeta/m - xhat dgamma/m) = k g - (k dbeta/m) - (x - mean) (k inv dgamma/m), k = gamma inv: three factors a channel.
        let k: Vec<T> = self.gamma.iter().zip(&inv).map(|(g, i)| *g * *i).collect();
        let shift: Vec<T> = k.iter().zip(dbeta).map(|(k, d)| *k * *d / m).collect();
        let slope: Vec<T> = (0..c).map(|j| k[j] * inv[j] * dgamma[j] / m).collect();
        dx.par_chunks_mut(ROWS * c)
            .enumerate()
            .for_each(|(b, rows)| {
                for (r, dx) in rows.chunks_mut(c).enumerate() {
                    let row = (b * ROWS + r) * c;
                    self.upstream(row, dx);
                    let x = &self.x[row..row + c];
                    for ((d, k), s) in dx.iter_mut().zip(&k).zip(&shift) {
                        *d = *k * *d - *s;
                    }
                    for (((d, x), m), s) in dx.iter_mut().zip(x).zip(self.mean).zip(&slope) {
                        *d -= (*x - *m) * *s;
                    }
                }
            });
        if let Some(dr) = dresidual {
            dr.par_chunks_mut(ROWS * c)
                .enumerate()
                .for_each(|(b, rows)| {
                    self.upstream(b * ROWS * c, rows);
                });
        }
    }
}
