//! Twin of `shaders/lars_trust.wgsl`.

use super::Scalar;
use super::scratch::{self, split};
use super::sgd::BLOCK;
use rayon::prelude::*;

/// What the ratios need besides the vectors.
#[derive(Clone, Copy, Debug)]
pub struct LarsTrust<T> {
    /// Trust coefficient.
    pub eta: T,
    /// The divisor is |g + wd w|, else |g| + wd |w| + 1e-8.
    pub of_step: bool,
}

impl<T: Scalar> LarsTrust<T> {
    /// Trust ratios per segment; `table` and `out` hold rows of (multiplier, weight decay, trust, 0); a negative trust
    /// in `table` excludes the segment (ratio 1).
    pub fn run(&self, grad: &[T], w: &[T], segment: &[u32], table: &[T], out: &mut [T]) {
        let blocks = w.len().div_ceil(BLOCK);
        let mut memory = scratch::shared(2 * blocks + table.len() / 2);
        let [parts, sums] = split(&mut memory, [2 * blocks, table.len() / 2]);
        parts
            .par_chunks_mut(2)
            .zip(w.par_chunks(BLOCK))
            .zip(grad.par_chunks(BLOCK))
            .zip(segment)
            .with_min_len(256)
            .for_each(|(((part, w), g), s)| {
                let decay = match self.of_step {
                    true => table[4 * *s as usize + 1],
                    false => T::zero(),
                };
                let step = g.iter().zip(w).map(|(g, w)| *g + decay * *w);
                part[0] = w.iter().map(|w| *w * *w).sum();
                part[1] = step.map(|s| s * s).sum();
            });
        sums.fill(T::zero());
        for (part, s) in parts.chunks(2).zip(segment) {
            let at = 2 * *s as usize;
            sums[at] += part[0];
            sums[at + 1] += part[1];
        }
        for ((out, row), sum) in out.chunks_mut(4).zip(table.chunks(4)).zip(sums.chunks(2)) {
            let (w, g) = (sum[0].sqrt(), sum[1].sqrt());
            let trust = if row[2] >= T::zero() && w > T::zero() && g > T::zero() {
                match self.of_step {
                    true => self.eta * w / g,
                    false => self.eta * w / (g + row[1] * w + T::of(1e-8)),
                }
            } else {
                T::one()
            };
            out.copy_from_slice(&[row[0], row[1], trust, T::zero()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LarsTrust;

    #[test]
    fn ratio_exclusion_and_zero_weights() {
        let mut w = [0.0f64; 192];
        let mut g = [0.0f64; 192];
        (w[0], w[1], g[0]) = (3.0, 4.0, 2.0);
        (w[64], g[64]) = (1.0, 1.0);
        g[128] = 1.0;
        let table = [1.0, 0.1, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 1.0, 0.1, 0.0, 0.0];
        let mut out = [0.0; 12];
        let op = |of_step| LarsTrust { eta: 0.02, of_step };
        op(false).run(&g, &w, &[0, 1, 2], &table, &mut out);
        assert!((out[2] - 0.02 * 5.0 / (2.0 + 0.5 + 1e-8)).abs() < 1e-15);
        assert_eq!((out[6], out[10]), (1.0, 1.0));
        // g + wd w = (2.3, 0.4).
        op(true).run(&g, &w, &[0, 1, 2], &table, &mut out);
        assert!((out[2] - 0.02 * 5.0 / 2.3f64.hypot(0.4)).abs() < 1e-15);
        assert_eq!((out[6], out[10]), (1.0, 1.0));
    }
}
