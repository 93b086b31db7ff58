//! How alike several heads are: what they make of the same images, up to a rotation and a scale of each head's space.
//!
//! Linear CKA (Kornblith et al., ICML 2019) with the unbiased estimator of HSIC (Song et al., JMLR 2012, as Nguyen,
//! Raghu, Kornblith, ICLR 2021, take it for batches). The biased one gives heads that have nothing in common a likeness
//! of about d'/n, which at 128 channels and a batch of 256 is one half. Between two heads it is the correlation of
//! their matrices of similarities between images, off the diagonal and with the means of rows and columns taken away. A
//! product of channels with channels would depend on the basis of each head's space, which the loss does not know.

use crate::reference::gemm::{Mat, product};

/// Images that are compared, at most: the estimate's expectation does not depend on their number.
pub const IMAGES: usize = 256;

/// Heads that are compared, at most: of more, the first.
pub const HEADS: usize = 8;

/// CKA of every two of the (first [`HEADS`]) heads of x [c,n,d], in the order (1,2), (1,3), .. (2,3), ..; 1: alike up
/// to rotation and scale, 0: unrelated (estimates may be below). `unit`: rows are brought to unit length first, for
/// what the loss sees by its cosines alone. No number where a row is not finite.
/// Nothing of fewer than four rows, with which the estimator is not defined.
pub fn between(x: &[f32], [c, n, d]: [usize; 3], unit: bool) -> Vec<f64> {
    if n < 4 || c < 2 {
        return Vec::new();
    }
    let heads = x.chunks(n * d).take(c.min(HEADS));
    let centred: Vec<Vec<f64>> = heads.map(|x| similarities(x, [n, d], unit)).collect();
    let mut out = Vec::new();
    for (i, a) in centred.iter().enumerate() {
        for b in &centred[i + 1..] {
            out.push(dot(a, b) / (dot(a, a) * dot(b, b)).sqrt());
        }
    }
    out
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The products of the rows of x [n,d] with each other, U-centred (Szekely, Rizzo, Annals of Statistics 2014): without
/// the diagonal, every row and column sums to zero. The product of two such matrices, over n (n - 3), is the unbiased
/// estimate of HSIC.
fn similarities(x: &[f32], [n, d]: [usize; 2], unit: bool) -> Vec<f64> {
    let mut rows: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
    if unit {
        for row in rows.chunks_mut(d) {
            let length = dot(row, row).sqrt().max(1e-12);
            row.iter_mut().for_each(|v| *v /= length);
        }
    }
    let mut k = vec![0.0; n * n];
    let mat = |rs, cs| Mat {
        data: &rows[..],
        rs,
        cs,
    };
    product(n, n, d, 1.0, mat(d, 1), mat(1, d), &mut k, n, false);
    (0..n).for_each(|i| k[i * n + i] = 0.0);
    let sums: Vec<f64> = k.chunks(n).map(|row| row.iter().sum()).collect();
    let (m, all) = (n as f64, sums.iter().sum::<f64>());
    for i in 0..n {
        for j in 0..n {
            if i != j {
                k[i * n + j] -= (sums[i] + sums[j]) / (m - 2.0) - all / ((m - 1.0) * (m - 2.0));
            }
        }
    }
    k
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::philox::{Purpose, Stream};

    fn normal(n: usize, seed: u64) -> Vec<f32> {
        let mut s = Stream::new(seed, 0, 0, Purpose::Init);
        (0..n).map(|_| s.normal()).collect()
    }

    /// HSIC_1 as Song et al. write it (Eq. 5), of kernels without diagonals.
    fn hsic(k: &[f64], l: &[f64], n: usize) -> f64 {
        let m = n as f64;
        let sum = |k: &[f64]| k.iter().sum::<f64>();
        let row = |k: &[f64], i: usize| k[i * n..(i + 1) * n].iter().sum::<f64>();
        let trace: f64 = (0..n * n).map(|at| k[at] * l[at % n * n + at / n]).sum();
        let through: f64 = (0..n).map(|i| row(k, i) * row(l, i)).sum();
        (trace + sum(k) * sum(l) / ((m - 1.0) * (m - 2.0)) - 2.0 * through / (m - 2.0))
            / (m * (m - 3.0))
    }

    #[test]
    fn centring_gives_the_unbiased_estimate() {
        let (n, d) = (9, 4);
        let [x, y] = [1, 2].map(|seed| normal(n * d, seed));
        let plain = |x: &[f32]| -> Vec<f64> {
            let of = |i: usize, j: usize| -> f64 {
                let product = |k: usize| f64::from(x[i * d + k]) * f64::from(x[j * d + k]);
                if i == j {
                    0.0
                } else {
                    (0..d).map(product).sum()
                }
            };
            (0..n * n).map(|at| of(at / n, at % n)).collect()
        };
        let (k, l) = (plain(&x), plain(&y));
        let want = hsic(&k, &l, n);
        let [a, b] = [&x, &y].map(|x| similarities(x, [n, d], false));
        let got = dot(&a, &b) / (n * (n - 3)) as f64;
        assert!((got - want).abs() < 1e-13, "{got} {want}");
        let cka = want / (hsic(&k, &k, n) * hsic(&l, &l, n)).sqrt();
        let both = [x, y].concat();
        assert!((between(&both, [2, n, d], false)[0] - cka).abs() < 1e-12);
    }

    /// Unrelated heads: 0, where the biased estimator would say d/n = 1/2 or more. A rotated and scaled copy: 1, as far
    /// as f32 stores it. Half of the channels alike, which make half of the products' variance: 1/2.
    #[test]
    fn unrelated_heads_and_rotated_copies_are_told_apart() {
        let (n, d) = (256, 128);
        let x = normal(n * d, 1);
        let half: Vec<f32> = (0..n * d)
            .zip(normal(n * d, 2))
            .map(|(at, other)| if at % d < d / 2 { x[at] } else { other })
            .collect();
        // Pairs of channels turned by .7, and the order of channels reversed.
        let (sin, cos) = 0.7f32.sin_cos();
        let turned: Vec<f32> = (0..n * d)
            .map(|at| {
                let (row, j) = (at / d * d, d - 1 - at % d);
                let (a, b) = (x[row + j / 2 * 2], x[row + j / 2 * 2 + 1]);
                3.0 * if j % 2 == 0 {
                    cos * a - sin * b
                } else {
                    sin * a + cos * b
                }
            })
            .collect();
        let heads = [x, normal(n * d, 3), half, turned].concat();
        let got = between(&heads, [4, n, d], false);
        assert_eq!(got.len(), 6);
        let [unrelated, halved, same] = [got[0], got[1], got[2]];
        // Of n (n - 1) / 2 nearly independent products, the correlation deviates by about sqrt(2) / n = .006.
        assert!(unrelated.abs() < 0.025, "{unrelated}");
        assert!((halved - 0.5).abs() < 0.05, "{halved}");
        assert!((same - 1.0).abs() < 1e-5, "{same}");
        // Cosines do not see how long a row is; products do.
        let long: Vec<f32> = heads[..n * d]
            .iter()
            .enumerate()
            .map(|(at, v)| if at / d == 7 { 30.0 * v } else { *v })
            .collect();
        let two = [&heads[..n * d], &long].concat();
        assert!((between(&two, [2, n, d], true)[0] - 1.0).abs() < 1e-6);
        assert!(between(&two, [2, n, d], false)[0] < 0.9);
    }

    #[test]
    fn what_has_no_likeness_has_no_number() {
        assert!(between(&normal(6, 1), [2, 3, 1], false).is_empty());
        let mut two = [normal(40, 1), vec![0.5; 40]].concat();
        two[3] = f32::NAN;
        assert!(between(&two, [2, 10, 4], true)[0].is_nan());
        let many = normal(10 * 5 * 2, 1);
        assert_eq!(
            between(&many, [10, 5, 2], true).len(),
            HEADS * (HEADS - 1) / 2
        );
    }
}
