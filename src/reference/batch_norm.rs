//! Twin of `shaders/batch_norm.wgsl`.

use super::Scalar;
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
    let parts: Vec<Vec<T>> = x
        .par_chunks(ROWS * c)
        .map(|rows| {
            let mut part = vec![T::zero(); c];
            for row in rows.chunks(c) {
                part.iter_mut()
                    .zip(row)
                    .enumerate()
                    .for_each(|(j, (p, v))| *p += f(j, *v));
            }
            part
        })
        .collect();
    out.fill(T::zero());
    for part in parts {
        out.iter_mut().zip(part).for_each(|(o, p)| *o += p);
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
    let scale: Vec<T> = gamma
        .iter()
        .zip(var)
        .map(|(g, v)| *g / (*v + eps).sqrt())
        .collect();
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
                    y.iter_mut()
                        .for_each(|y| *y = if *y > T::zero() { *y } else { T::zero() });
                }
            }
        });
}
