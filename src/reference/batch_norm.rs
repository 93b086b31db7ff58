//! Twin of `shaders/batch_norm.wgsl`.

use super::{Scalar, scratch};
use rayon::prelude::*;

/// Rows a partial result covers: fixed, so that nothing depends on the number of threads.
pub(super) const ROWS: usize = 256;

/// Mean and biased variance of each column of x [m,c]: two passes, partial sums over 256 rows added in order.
pub fn statistics<T: Scalar>(c: usize, x: &[T], mean: &mut [T], var: &mut [T]) {
    let m = T::of((x.len() / c) as f64);
    column_sums(c, x, mean, |_, v| v);
    mean.iter_mut().for_each(|v| *v /= m);
    column_sums(c, x, var, |j, v| (v - mean[j]) * (v - mean[j]));
    var.iter_mut().for_each(|v| *v /= m);
}

/// `out[j] = sum over rows of f(j, x[row, j])`.
fn column_sums<T: Scalar>(c: usize, x: &[T], out: &mut [T], f: impl Fn(usize, T) -> T + Sync) {
    let mut parts = scratch::shared(x.len().div_ceil(ROWS * c) * c);
    parts
        .par_chunks_mut(c)
        .zip(x.par_chunks(ROWS * c))
        .for_each(|(part, rows)| {
            part.fill(T::zero());
            for row in rows.chunks(c) {
                part.iter_mut()
                    .zip(row)
                    .enumerate()
                    .for_each(|(j, (p, v))| *p += f(j, *v));
            }
        });
    out.fill(T::zero());
    for part in parts.chunks(c) {
        out.iter_mut().zip(part).for_each(|(o, p)| *o += *p);
    }
}

/// The affine part: `y = act((x - mean) gamma / sqrt(var + eps) + beta (+ residual))`, x [m,c].
#[allow(clippy::too_many_arguments, reason = "the operands of one formula")]
pub fn apply<T: Scalar>(
    eps: T,
    relu: bool,
    x: &[T],
    gamma: &[T],
    beta: &[T],
    mean: &[T],
    var: &[T],
    residual: Option<&[T]>,
    y: &mut [T],
) {
    let c = gamma.len();
    let mut scale = scratch::shared(c);
    for (s, (g, v)) in scale.iter_mut().zip(gamma.iter().zip(var)) {
        *s = *g / (*v + eps).sqrt();
    }
    let scale = &scale[..];
    y.par_chunks_mut(ROWS * c)
        .enumerate()
        .for_each(|(i, rows)| {
            let at = i * ROWS * c;
            for (r, (y, x)) in rows.chunks_mut(c).zip(x[at..].chunks(c)).enumerate() {
                for j in 0..c {
                    y[j] = (x[j] - mean[j]) * scale[j] + beta[j];
                }
                if let Some(res) = residual {
                    y.iter_mut()
                        .zip(&res[at + r * c..])
                        .for_each(|(y, v)| *y += *v);
                }
                if relu {
                    y.iter_mut().for_each(|y| *y = y.at_least(T::zero()));
                }
            }
        });
}

#[cfg(test)]
mod tests {
    use super::{apply, statistics};

    /// Against the definition, column by column; more rows than one partial sum covers.
    #[test]
    fn equals_the_definition() {
        let (m, c) = (601, 3);
        let x: Vec<f64> = (0..m * c)
            .map(|i| ((i * 37) % 101) as f64 / 17.0 - 2.0)
            .collect();
        let (gamma, beta) = ([0.5, -1.0, 2.0], [0.1, 0.2, -0.3]);
        let (mut mean, mut var, mut y) = ([0.0; 3], [0.0; 3], vec![0.0; m * c]);
        statistics(c, &x, &mut mean, &mut var);
        apply(1e-5, true, &x, &gamma, &beta, &mean, &var, Some(&x), &mut y);
        for j in 0..c {
            let column: Vec<f64> = x.iter().skip(j).step_by(c).copied().collect();
            let mu = column.iter().sum::<f64>() / m as f64;
            let s2 = column.iter().map(|v| (v - mu).powi(2)).sum::<f64>() / m as f64;
            assert!((mean[j] - mu).abs() < 1e-12 && (var[j] - s2).abs() < 1e-12);
            for (i, v) in column.iter().enumerate() {
                let want = (gamma[j] * (v - mu) / (s2 + 1e-5).sqrt() + beta[j] + v).max(0.0);
                assert!((y[i * c + j] - want).abs() < 1e-12);
            }
        }
    }

    /// A mean ten thousand times the spread: E[x^2] - E[x]^2 in f32 would keep no digit of the variance.
    #[test]
    fn a_large_mean_does_not_cancel() {
        let x: Vec<f32> = (0..1024).map(|i| 10_000.0 + (i % 2) as f32).collect();
        let (mut mean, mut var) = ([0.0], [0.0]);
        statistics(1, &x, &mut mean, &mut var);
        assert!((var[0] - 0.25).abs() < 1e-3, "{}", var[0]);
    }
}
