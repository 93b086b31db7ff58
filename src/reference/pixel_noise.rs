//! Twin of `shaders/pixel_noise.wgsl`.

use super::Scalar;
use super::philox::philox4x32;
use rayon::prelude::*;

/// Words of a stream: its key, and the counter's words behind the first.
pub const WORDS: usize = 5;

/// `e = level N(0, 1)` for images of equal lengths, four numbers from each block of the image's stream.
pub fn pixel_noise<T: Scalar>(words: &[u32], levels: &[T], e: &mut [T]) {
    let row = e.len() / levels.len().max(1);
    let unit = 1.0 / f64::from(1u32 << 24);
    let pair = |a: u32, b: u32| {
        let radius = (-2.0 * (f64::from((1 << 24) - (a >> 8)) * unit).ln()).sqrt();
        let turn = std::f64::consts::TAU * f64::from(b >> 8) * unit;
        [radius * turn.cos(), radius * turn.sin()]
    };
    let images = e.par_chunks_mut(row.max(1)).zip(levels);
    images
        .zip(words.par_chunks(WORDS))
        .for_each(|((e, level), w)| {
            for (block, e) in e.chunks_mut(4).enumerate() {
                let r = philox4x32([block as u32, w[2], w[3], w[4]], [w[0], w[1]]);
                let [a, b] = [pair(r[0], r[1]), pair(r[2], r[3])];
                let values = a.into_iter().chain(b);
                e.iter_mut()
                    .zip(values)
                    .for_each(|(e, v)| *e = *level * T::of(v));
            }
        });
}

#[cfg(test)]
mod tests {
    use super::{WORDS, pixel_noise};

    /// 65,536 numbers: the mean is within 4 / sqrt(n), the variance within 4 sqrt(2 / n), and another image's are
    /// others.
    #[test]
    fn is_normal() {
        let n = 1 << 16;
        let mut words = vec![1, 2, 3, 4, 5];
        words.extend([1, 2, 4, 4, 5]);
        assert_eq!(words.len(), 2 * WORDS);
        let mut e = vec![0f64; 2 * n];
        pixel_noise(&words, &[1.0, 2.0], &mut e);
        let (first, second) = e.split_at(n);
        let mean = first.iter().sum::<f64>() / n as f64;
        let variance = first.iter().map(|v| v * v).sum::<f64>() / n as f64;
        assert!(mean.abs() < 4.0 / 256.0 && (variance - 1.0).abs() < 4.0 * (2.0 / n as f64).sqrt());
        let tail = first.iter().filter(|v| v.abs() > 2.0).count() as f64 / n as f64;
        assert!((tail - 0.0455).abs() < 0.0035, "{tail}");
        let both: f64 = first.iter().zip(second).map(|(a, b)| a * b / 2.0).sum();
        assert!((both / n as f64).abs() < 4.0 / 256.0);
    }
}
