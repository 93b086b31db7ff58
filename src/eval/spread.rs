//! How features fill their space: signs of full and of dimensional collapse.

use crate::reference::gemm::{Mat, product};
use crate::reference::l2_normalize::l2_normalize;
use nalgebra::DMatrix;
use serde::Serialize;

/// Spread of a set of features.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Deviation of the L2-normalised features, mean over dimensions, times sqrt(d) (Chen & He, CVPR 2021, Fig. 2):
    /// near 1 when they spread over the sphere, 0 when all are alike.
    pub feature_std: f64,
    /// exp of the entropy of the normalised singular values of the features (Roy & Vetterli 2007; RankMe, Garrido et
    /// al., ICML 2023): from 1 to d.
    pub effective_rank: f64,
}

/// Why features [n,d] say nothing of their images, if that is so: some are not finite, or all images have the same ones
/// (to 1e-6 of the largest).
pub fn doubt(features: &[f32], d: usize) -> Option<String> {
    let rows = || features.chunks(d);
    let n = rows().len();
    let broken = |row: &[f32]| row.iter().any(|v| !v.is_finite());
    if let Some(first) = rows().position(broken) {
        let count = rows().filter(|row| broken(row)).count();
        return Some(format!(
            "the features of {count} of {n} images are not finite (the first is image {})",
            first + 1
        ));
    }
    let largest = features.iter().fold(0f32, |m, v| m.max(v.abs()));
    let same = |row: &[f32]| {
        row.iter()
            .zip(features)
            .all(|(a, b)| (a - b).abs() <= 1e-6 * largest)
    };
    (n > 1 && rows().all(same)).then(|| {
        format!("the features of all {n} images are the same: the encoder tells nothing apart")
    })
}

/// Spread of features [n,d]; not numbers where a feature is not finite.
pub fn spread(features: &[f32], d: usize) -> Spread {
    if features.iter().any(|v| !v.is_finite()) {
        return Spread {
            feature_std: f64::NAN,
            effective_rank: f64::NAN,
        };
    }
    let n = features.len() / d;
    let mut unit = vec![0.0f32; features.len()];
    l2_normalize(d, 1e-12, features, &mut unit);
    let mut std = 0.0;
    for j in 0..d {
        let column = || (0..n).map(|i| f64::from(unit[i * d + j]));
        let mean = column().sum::<f64>() / n as f64;
        std += (column().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n as f64).sqrt();
    }
    // Singular values from the d x d Gram matrix, in f64: their squares lose no more than the half that the entropy
    // does not see.
    let x: Vec<f64> = features.iter().map(|v| f64::from(*v)).collect();
    let mut gram = vec![0.0f64; d * d];
    let (a, b) = (
        Mat {
            data: &x[..],
            rs: 1,
            cs: d,
        },
        Mat {
            data: &x[..],
            rs: d,
            cs: 1,
        },
    );
    product(d, d, n, 1.0, a, b, &mut gram, d, false);
    let eigen = DMatrix::from_vec(d, d, gram).symmetric_eigenvalues();
    let singular: Vec<f64> = eigen.iter().map(|e| e.max(0.0).sqrt()).collect();
    let total: f64 = singular.iter().sum();
    let entropy: f64 = singular
        .iter()
        .map(|s| s / total)
        .filter(|p| *p > 0.0)
        .map(|p| -p * p.ln())
        .sum();
    Spread {
        feature_std: std / d as f64 * (d as f64).sqrt(),
        effective_rank: entropy.exp(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collapsed_and_spread_features() {
        // Twice the axes of a four-dimensional space: all singular values equal.
        let mut axes = vec![0.0; 8 * 4];
        (0..8).for_each(|i| axes[i * 4 + i % 4] = if i < 4 { 1.0 } else { -1.0 });
        let s = spread(&axes, 4);
        assert!(
            (s.effective_rank - 4.0).abs() < 1e-9 && (s.feature_std - 1.0).abs() < 1e-6,
            "{s:?}"
        );
        let s = spread(&[0.5; 32], 4);
        assert!(
            s.effective_rank < 1.0 + 1e-6 && s.feature_std < 1e-6,
            "{s:?}"
        );
    }

    #[test]
    fn features_that_say_nothing_are_named() {
        let mut x: Vec<f32> = (0..12).map(|i| (i as f32).sin()).collect();
        assert_eq!(doubt(&x, 4), None);
        let constant = [1.0, -2.0, 0.5].repeat(4);
        assert!(
            doubt(&constant, 3)
                .unwrap()
                .contains("all 4 images are the same")
        );
        assert!(doubt(&[0.0; 8], 4).unwrap().contains("all 2 images"));
        // A single image is the same as itself, and a channel that differs is enough.
        assert_eq!(doubt(&constant[..3], 3), None);
        let mut nearly = constant;
        nearly[7] += 1e-4;
        assert_eq!(doubt(&nearly, 3), None);
        x[9] = f32::NAN;
        x[5] = f32::INFINITY;
        let said = doubt(&x, 4).unwrap();
        assert!(
            said.contains("2 of 3 images") && said.contains("image 2"),
            "{said}"
        );
        let s = spread(&x, 4);
        assert!(s.feature_std.is_nan() && s.effective_rank.is_nan());
    }
}
