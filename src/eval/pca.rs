//! The two directions in which features vary most, by orthogonal iteration.

use nalgebra::DMatrix;

/// Rounds of the iteration. The error falls by the ratio of neighbouring eigenvalues each round, so that axes whose
/// variances differ by a tenth are found to 0.3 %; a picture needs no more.
const ROUNDS: usize = 60;

/// The plane of the first two principal components.
#[derive(Clone, Debug)]
pub struct Plane {
    /// Mean of the features [d].
    pub mean: Vec<f64>,
    /// The components, each [d] and of length 1; the second is zero where d is 1. Signs are arbitrary.
    pub axes: [Vec<f64>; 2],
}

impl Plane {
    /// Of features [n,d]; all zero where there are none.
    ///
    /// Orthogonal iteration (Golub and Van Loan, "Matrix Computations", 8.2.4): V <- Q of the QR decomposition of X^T X V.
    /// It costs 480 n d operations, while a full eigendecomposition of the d x d covariance took some twenty times as
    /// long at d = 2048.
    pub fn of(features: &[f32], d: usize) -> Self {
        let n = features.len() / d.max(1);
        if n == 0 {
            return Self {
                mean: vec![0.0; d],
                axes: [vec![0.0; d], vec![0.0; d]],
            };
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
        let axis = |j: usize| match j < axes.ncols() {
            true => axes.column(j).iter().copied().collect(),
            false => vec![0.0; d],
        };
        Self {
            mean: mean.iter().copied().collect(),
            axes: [axis(0), axis(1)],
        }
    }

    /// Where features [n,d] lie in it.
    pub fn places(&self, features: &[f32]) -> Vec<[f64; 2]> {
        let along = |row: &[f32], axis: &[f64]| -> f64 {
            let pairs = row.iter().zip(&self.mean).zip(axis);
            pairs.map(|((v, m), a)| (f64::from(*v) - m) * a).sum()
        };
        let rows = features.chunks(self.mean.len().max(1));
        rows.map(|r| [along(r, &self.axes[0]), along(r, &self.axes[1])])
            .collect()
    }
}

/// Features [n,d] -> their coordinates [n] in their [`Plane`].
pub fn two(features: &[f32], d: usize) -> Vec<(f64, f64)> {
    let plane = Plane::of(features, d);
    plane
        .places(features)
        .into_iter()
        .map(|[x, y]| (x, y))
        .collect()
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
