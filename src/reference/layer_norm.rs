//! Twin of `shaders/layer_norm.wgsl`.

use super::Scalar;
use super::elementwise::{Work, vectorized_work};
use rayon::prelude::*;

/// Rows of a task.
pub(super) const ROWS: usize = 32;
/// Sums that run side by side, so that they are compiled to vectors.
const LANES: usize = 16;

/// Sums over what `f` makes of the elements of slices of one length, two at once, in [`LANES`] interleaved lanes that
/// are added in order.
#[inline(always)]
pub(super) fn two_sums<T: Scalar, const K: usize>(
    x: [&[T]; K],
    f: impl Fn([T; K]) -> (T, T),
) -> (T, T) {
    let (mut a, mut b) = ([T::zero(); LANES], [T::zero(); LANES]);
    let parts = x.map(<[T]>::as_chunks::<LANES>);
    // Loops, not `array::map`, which is not always inlined (`elementwise::Work`).
    for chunk in 0..parts[0].0.len() {
        let mut v = [[T::zero(); LANES]; K];
        for (v, p) in v.iter_mut().zip(&parts) {
            *v = p.0[chunk];
        }
        for lane in 0..LANES {
            let mut of_lane = [T::zero(); K];
            for (to, v) in of_lane.iter_mut().zip(&v) {
                *to = v[lane];
            }
            let (one, two) = f(of_lane);
            a[lane] += one;
            b[lane] += two;
        }
    }
    for lane in 0..parts[0].1.len() {
        let mut of_lane = [T::zero(); K];
        for (to, p) in of_lane.iter_mut().zip(&parts) {
            *to = p.1[lane];
        }
        let (one, two) = f(of_lane);
        a[lane] += one;
        b[lane] += two;
    }
    (a.into_iter().sum(), b.into_iter().sum())
}

/// Some rows: eps, x, w, b, y, mean, rstd.
struct Rows<'a, T>(T, &'a [T], [&'a [T]; 2], &'a mut [T], [&'a mut [T]; 2]);

impl<T: Scalar> Work for Rows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        let Self(eps, x, [w, b], y, [mean, rstd]) = self;
        let (d, n) = (w.len(), T::of(w.len() as f64));
        let rows = y.chunks_exact_mut(d).zip(x.chunks_exact(d));
        for ((y, x), (mean, rstd)) in rows.zip(mean.iter_mut().zip(rstd)) {
            let m = two_sums([x], |[x]| (x, T::zero())).0 / n;
            // What rounding left of the mean.
            let (one, two) = two_sums([x], |[x]| (x - m, (x - m) * (x - m)));
            let delta = one / n;
            let variance = (two / n - delta * delta).max(T::zero());
            let r = T::one() / (variance + eps).sqrt();
            for ((y, x), (w, b)) in y.iter_mut().zip(x).zip(w.iter().zip(b)) {
                *y = (*x - m - delta) * r * *w + *b;
            }
            (*mean, *rstd) = (m + delta, r);
        }
    }
}

/// `y = (x - mean) rstd w + b` for rows of the width of `w`; `mean` and `rstd` of every row.
pub fn layer_norm<T: Scalar>(
    eps: T,
    x: &[T],
    w: &[T],
    b: &[T],
    y: &mut [T],
    (mean, rstd): (&mut [T], &mut [T]),
) {
    let d = w.len();
    y.par_chunks_mut(ROWS * d)
        .zip(x.par_chunks(ROWS * d))
        .zip(mean.par_chunks_mut(ROWS).zip(rstd.par_chunks_mut(ROWS)))
        .for_each(|((y, x), (mean, rstd))| {
            vectorized_work(Rows(eps, x, [w, b], y, [mean, rstd]));
        });
}

#[cfg(test)]
mod tests {
    use super::layer_norm;

    fn run(eps: f64, x: &[f64], d: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let rows = x.len() / d;
        let (mut y, mut mean, mut rstd) = (vec![0.0; x.len()], vec![0.0; rows], vec![0.0; rows]);
        let (w, b) = (vec![2.0; d], vec![0.5; d]);
        layer_norm(eps, x, &w, &b, &mut y, (&mut mean, &mut rstd));
        (y, mean, rstd)
    }

    /// Rows of mean 0.5 and variance 1 become 2 z + 0.5; a constant row becomes the shift, at rstd = 1 / sqrt(eps).
    #[test]
    fn equals_the_definition() {
        let d = 34;
        let row = |m: f64| (0..d).map(move |i| m + if i % 2 == 0 { 1.0 } else { -1.0 });
        let x: Vec<f64> = row(0.5).chain(row(-100.0)).collect();
        let (y, mean, rstd) = run(0.0, &x, d);
        assert_eq!(mean, [0.5, -100.0]);
        for (i, y) in y.iter().enumerate() {
            let want = if i % d % 2 == 0 { 2.5 } else { -1.5 };
            assert!((y - want).abs() < 1e-12, "{i}: {y}");
        }
        assert!(rstd.iter().all(|r| (r - 1.0).abs() < 1e-12));
        // 0.1 is no sum of powers of two: the mean is rounded, and delta takes off what that leaves.
        let (y, _, rstd) = run(1e-6, &[0.1; 33], 33);
        assert!(y.iter().all(|y| (y - 0.5).abs() < 1e-12) && (rstd[0] - 1e3).abs() < 1e-6);
    }
}
