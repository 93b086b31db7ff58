//! The two directions in which features vary most, by orthogonal iteration.

/// Rounds of the iteration; the picture needs no more.
const ROUNDS: usize = 60;

/// Features [n,d] -> their coordinates [n] along the first two principal components.
pub fn two(features: &[f32], d: usize) -> Vec<(f64, f64)> {
    let n = features.len() / d.max(1);
    if n == 0 {
        return Vec::new();
    }
    let mut mean = vec![0.0; d];
    for row in features.chunks(d) {
        for (m, v) in mean.iter_mut().zip(row) {
            *m += f64::from(*v) / n as f64;
        }
    }
    let project = |v: &[f64]| -> Vec<f64> {
        features
            .chunks(d)
            .map(|row| {
                row.iter()
                    .zip(&mean)
                    .zip(v)
                    .map(|((x, m), v)| (f64::from(*x) - m) * v)
                    .sum()
            })
            .collect()
    };
    let spread = |t: &[f64]| -> Vec<f64> {
        let mut v = vec![0.0; d];
        for (row, t) in features.chunks(d).zip(t) {
            for ((v, x), m) in v.iter_mut().zip(row).zip(&mean) {
                *v += (f64::from(*x) - m) * t;
            }
        }
        v
    };
    let unit = |v: &mut [f64]| {
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= norm.max(1e-300));
    };
    // Two starts that differ; what they are does not matter unless one is exactly orthogonal to a component.
    let mut a: Vec<f64> = (0..d).map(|i| 1.0 + i as f64 / d as f64).collect();
    let mut b: Vec<f64> = (0..d).map(|i| (1.7 * i as f64).cos()).collect();
    for _ in 0..ROUNDS {
        a = spread(&project(&a));
        unit(&mut a);
        b = spread(&project(&b));
        let along: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
        b.iter_mut().zip(&a).for_each(|(y, x)| *y -= along * x);
        unit(&mut b);
    }
    project(&a).into_iter().zip(project(&b)).collect()
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
}
