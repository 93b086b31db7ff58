//! Twin of `shaders/cast_f32.wgsl`.

use super::Scalar;
use half::f16;
use rayon::prelude::*;

/// Unpacks two halves a word, the first from the low one; `y` may be one shorter.
pub fn cast_f32<T: Scalar>(x: &[u32], y: &mut [T]) {
    y.par_chunks_mut(2)
        .zip(x)
        .with_min_len(4096)
        .for_each(|(y, x)| {
            for (i, y) in y.iter_mut().enumerate() {
                *y = T::of(f16::from_bits((x >> (16 * i)) as u16).to_f64());
            }
        });
}
