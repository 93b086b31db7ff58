//! Twin of `shaders/centre_scores_grad.wgsl`.

use super::Scalar;
use super::centre_scores::Shape;

/// From `[dr, x, mean]`: `dx = gain (dr - sum_c / pairs)` for pairs, `gain dr` elsewhere. Returns
/// `dgain = sum dr (x - mean_c)`.
pub fn centre_scores_grad<T: Scalar>(
    f: &Shape,
    gain: T,
    [dr, x, mean]: [&[T]; 3],
    dx: &mut [T],
) -> T {
    let head = f.a * f.n;
    let mut dgain = T::zero();
    for (c, dx) in dx.chunks_mut(head).enumerate() {
        let (dr, x) = (&dr[c * head..(c + 1) * head], &x[c * head..(c + 1) * head]);
        let share = dr.iter().copied().sum::<T>() / T::of(f.pairs() as f64);
        dgain += dr
            .iter()
            .zip(x)
            .map(|(d, x)| *d * (*x - mean[c]))
            .sum::<T>();
        for at in 0..head {
            dx[at] = gain * (dr[at] - if f.counts(at) { share } else { T::zero() });
        }
    }
    dgain
}
