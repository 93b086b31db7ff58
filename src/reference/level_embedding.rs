//! Twin of `shaders/level_embedding.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// For each level s the sines of s f_i and then the cosines, f_i = 10000^(-i / (h - 1)), i < h = `dim` / 2.
pub fn level_embedding<T: Scalar>(dim: usize, levels: &[T], y: &mut [T]) {
    let h = dim / 2;
    let step = -(10_000f64.ln()) / (h as f64 - 1.0);
    y.par_chunks_mut(dim).zip(levels).for_each(|(y, level)| {
        let (sines, cosines) = y.split_at_mut(h);
        for i in 0..h {
            let x = level.f64() * (step * i as f64).exp();
            (sines[i], cosines[i]) = (T::of(x.sin()), T::of(x.cos()));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::level_embedding;

    #[test]
    fn first_and_last_frequency() {
        let mut y = [0.0; 16];
        level_embedding(8, &[0.5, 2.0], &mut y);
        // 1 and 1/10000, of both levels.
        let want = [0.5f64.sin(), 5e-5f64.sin(), 0.5f64.cos(), 5e-5f64.cos()];
        for (i, want) in [0, 3, 4, 7].into_iter().zip(want) {
            assert!((y[i] - want).abs() < 1e-15, "{i}");
        }
        assert!((y[8] - 2f64.sin()).abs() < 1e-15);
    }
}
