//! The two directions in which features vary most, by orthogonal iteration.

use nalgebra::DMatrix;

/// Rounds of the iteration. The error falls by the ratio of neighbouring eigenvalues each round, so that axes whose
/// variances differ by a tenth are found to 0.3 %; a picture needs no more.
const ROUNDS: usize = 60;

/// Features [n,d] -> their coordinates [n] along the first two principal components (0 along the second where d is 1).
/// Signs are arbitrary.
///
/// Orthogonal iteration (Golub and Van Loan, "Matrix Computations", 8.2.4): V <- Q of the QR decomposition of X^T X V.
/// It costs 480 n d operations, while a full eigendecomposition of the d x d covariance took some twenty times as long
/// at d = 2048.
pub fn two(features: &[f32], d: usize) -> Vec<(f64, f64)> {
    let n = features.len() / d.max(1);
    if n == 0 {
        return Vec::new();
    }
    let mut x = DMatrix::from_row_iterator(n, d, features.iter().map(|v| f64::from(*v)));
    let mean = x.row_mean();
    x.row_iter_mut().for_each(|mut row| row -= &mean);
    // The two starts must only differ, and neither may be orthogonal to a component.
    let mut axes = DMatrix::from_fn(d, 2, |i, j| match j {
        0 => 1.0 + i as f64 / d as f64,
        _ => (1.7 * i as f64).cos(),
    });
    for _ in 0..ROUNDS {
        axes = x.tr_mul(&(&x * &axes)).qr().q();
    }
    let along = &x * axes;
    let second = |i: usize| along.row(i).get(1).copied().unwrap_or(0.0);
    (0..n).map(|i| (along[(i, 0)], second(i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_long_and_the_middle_axis() {
        let mut x = Vec::new();
        for i in 0..60i16 {
            let (t, u) = (f32::from(i % 10) - 4.5, f32::from(i / 10) - 2.5);
            // Long along (1,1,0), middle along (1,-1,0), a little along the third.
            x.extend([3.0 * t + u + 7.0, 3.0 * t - u, 0.01 * f32::from(i % 7)]);
        }
        let p = two(&x, 3);
        let var =
            |f: &dyn Fn(&(f64, f64)) -> f64| p.iter().map(|q| f(q).powi(2)).sum::<f64>() / 60.0;
        assert!(
            (var(&|q| q.0) - 18.0 * 8.25).abs() < 1e-3,
            "{}",
            var(&|q| q.0)
        );
        assert!(
            (var(&|q| q.1) - 2.0 * 2.916_67).abs() < 1e-3,
            "{}",
            var(&|q| q.1)
        );
        assert!(p.iter().map(|q| q.0).sum::<f64>().abs() < 1e-9);
    }

    /// Nothing varies, or there is one direction only.
    #[test]
    fn degenerate_features_have_coordinates_too() {
        assert_eq!(two(&[0.5; 12], 3), vec![(0.0, 0.0); 4]);
        let p = two(&[1.0, 2.0, 3.0], 1);
        assert!(p.iter().all(|q| q.1 == 0.0), "{p:?}");
        assert!((p[2].0 - p[0].0).abs() - 2.0 < 1e-12 && p[1].0.abs() < 1e-12);
        assert!(two(&[], 3).is_empty());
    }
}
