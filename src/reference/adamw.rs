//! Twin of `shaders/adamw.wgsl`.

use super::Scalar;
use super::sgd::BLOCK;
use rayon::prelude::*;

/// What an AdamW update needs besides the vectors.
#[derive(Clone, Copy, Debug)]
pub struct AdamW<T> {
    /// Learning rate of the step.
    pub lr: T,
    /// Decay of the first moment.
    pub beta1: T,
    /// Decay of the second moment.
    pub beta2: T,
    /// Added to the root of the second moment.
    pub eps: T,
    /// Largest gradient norm; 0: no clipping.
    pub max_norm: T,
    /// Updates so far, this one included.
    pub t: u32,
}

impl<T: Scalar> AdamW<T> {
    /// One step over a flat group; `segment` per 64 elements names a row (multiplier, weight decay, _, _) of `table`;
    /// `state` is parameters, first and second moment. False, and nothing changed, when the norm is not finite.
    pub fn run(
        &self,
        grad: &[T],
        norm2: T,
        segment: &[u32],
        table: &[T],
        state: [&mut [T]; 3],
    ) -> bool {
        if !norm2.is_finite() {
            return false;
        }
        let one = T::one();
        let clip = if self.max_norm > T::zero() {
            one.min(self.max_norm / (norm2.sqrt() + T::of(1e-6)))
        } else {
            one
        };
        // 1 - beta^t in f64: in f32 it would cancel in the first steps.
        let correction = |beta: T| T::of(-(f64::from(self.t) * beta.f64().ln()).exp_m1());
        let (c1, c2) = (correction(self.beta1), correction(self.beta2));
        let [w, m, v] = state;
        w.par_chunks_mut(BLOCK)
            .zip(m.par_chunks_mut(BLOCK))
            .zip(v.par_chunks_mut(BLOCK))
            .zip(grad.par_chunks(BLOCK))
            .zip(segment)
            .with_min_len(256)
            .for_each(|((((w, m), v), grad), s)| {
                let row = &table[*s as usize * 4..];
                let lr = self.lr * row[0];
                for i in 0..w.len() {
                    let g = clip * grad[i];
                    m[i] = self.beta1 * m[i] + (one - self.beta1) * g;
                    v[i] = self.beta2 * v[i] + (one - self.beta2) * g * g;
                    let size = (v[i] / c2).sqrt() + self.eps;
                    w[i] = w[i] * (one - lr * row[1]) - lr * (m[i] / c1) / size;
                }
            });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::AdamW;

    /// torch.optim.AdamW([w], lr=0.1, weight_decay=0.01) from w = 1 with gradients 0.5 and -0.25, by its formulas.
    #[test]
    fn two_steps_by_hand() {
        let op = |t| AdamW {
            lr: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            max_norm: 0.0,
            t,
        };
        let (mut w, mut m, mut v) = ([1.0f64], [0.0], [0.0]);
        let table = [1.0, 0.01, 0.0, 0.0];
        assert!(op(1).run(&[0.5], 0.25, &[0], &table, [&mut w, &mut m, &mut v]));
        // The first step is the sign of the gradient: 1 * (1 - 0.1 * 0.01) - 0.1 * 0.5 / (0.5 + 1e-8).
        let first = 0.999 - 0.1 * 0.5 / (0.5 + 1e-8);
        assert!((w[0] - first).abs() < 1e-12, "{}", w[0]);
        assert!(op(2).run(&[-0.25], 0.0625, &[0], &table, [&mut w, &mut m, &mut v]));
        // m = 0.9*0.05 - 0.025 = 0.02, v = 0.999*2.5e-4 + 6.25e-5 = 3.1225e-4; corrections 0.19 and 0.001999.
        let second =
            first * 0.999 - 0.1 * (0.02 / 0.19) / ((3.1225e-4f64 / 0.001999).sqrt() + 1e-8);
        assert!((w[0] - second).abs() < 1e-12, "{} {second}", w[0]);
        assert!(!op(3).run(
            &[1.0],
            f64::INFINITY,
            &[0],
            &table,
            [&mut w, &mut m, &mut v]
        ));
        assert!((w[0] - second).abs() < 1e-12);
    }
}
