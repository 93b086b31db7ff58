//! Twin of `shaders/sgd.wgsl`.

use super::Scalar;
use super::elementwise::vectorized;
use rayon::prelude::*;

/// What an SGD update needs besides the vectors.
#[derive(Clone, Copy, Debug)]
pub struct Sgd<T> {
    /// Learning rate of the step.
    pub lr: T,
    /// Momentum.
    pub momentum: T,
    /// Nesterov's form.
    pub nesterov: bool,
    /// Largest gradient norm; 0: no clipping.
    pub max_norm: T,
}

/// Elements that share a segment.
pub const BLOCK: usize = 64;
/// Blocks of a task.
const TASK: usize = 256;

impl<T: Scalar> Sgd<T> {
    /// One step over a flat group. `segment` names, per 64 elements, a row (multiplier, weight decay, LARS trust ratio
    /// or 0, _) of `table`. False, and nothing changed, when the norm is not finite.
    pub fn run(
        &self,
        grad: &[T],
        norm2: T,
        segment: &[u32],
        table: &[T],
        w: &mut [T],
        v: &mut [T],
    ) -> bool {
        if !norm2.is_finite() {
            return false;
        }
        let clip = if self.max_norm > T::zero() {
            T::one().min(self.max_norm / (norm2.sqrt() + T::of(1e-6)))
        } else {
            T::one()
        };
        let update = |w: &mut T, v: &mut T, g: T, row: &[T]| {
            let trust = if row[2] > T::zero() { row[2] } else { T::one() };
            let d = trust * (clip * g + row[1] * *w);
            *v = self.momentum * *v + d;
            let step = if self.nesterov {
                d + self.momentum * *v
            } else {
                *v
            };
            *w -= self.lr * row[0] * step;
        };
        w.par_chunks_mut(TASK * BLOCK)
            .zip(v.par_chunks_mut(TASK * BLOCK))
            .zip(grad.par_chunks(TASK * BLOCK))
            .zip(segment.par_chunks(TASK))
            .for_each(|(((w, v), g), segment)| {
                vectorized(|| {
                    let blocks = w.chunks_mut(BLOCK).zip(v.chunks_mut(BLOCK));
                    for (((w, v), g), s) in blocks.zip(g.chunks(BLOCK)).zip(segment) {
                        let row = &table[*s as usize * 4..][..4];
                        let all = w.iter_mut().zip(v).zip(g);
                        all.for_each(|((w, v), g)| update(w, v, *g, row));
                    }
                });
            });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Sgd;

    /// torch.optim.SGD([w], lr=0.1, momentum=0.9, weight_decay=0.01), two steps from w = 1 with gradients 0.5 and
    /// -0.25.
    #[test]
    fn two_steps_as_pytorch() {
        let op = Sgd {
            lr: 0.1,
            momentum: 0.9,
            nesterov: false,
            max_norm: 0.0,
        };
        let (mut w, mut v) = ([1.0f64], [0.0]);
        assert!(op.run(&[0.5], 0.25, &[0], &[1.0, 0.01, 0.0, 0.0], &mut w, &mut v));
        assert!((w[0] - 0.949).abs() < 1e-15);
        assert!(op.run(
            &[-0.25],
            0.0625,
            &[0],
            &[1.0, 0.01, 0.0, 0.0],
            &mut w,
            &mut v
        ));
        // v = 0.9*0.51 - 0.25 + 0.01*0.949 = 0.21849
        assert!((w[0] - 0.927151).abs() < 1e-15);
        assert!(!op.run(
            &[f64::NAN],
            f64::NAN,
            &[0],
            &[1.0, 0.0, 0.0, 0.0],
            &mut w,
            &mut v
        ));
        assert!((w[0] - 0.927151).abs() < 1e-15);
    }
}
