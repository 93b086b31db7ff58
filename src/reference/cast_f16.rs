//! Twin of `shaders/cast_f16.wgsl`.

use super::Scalar;
use half::f16;
use rayon::prelude::*;

/// Two elements a word as halves, the first in the low one; an odd end is padded with zero.
pub fn cast_f16<T: Scalar>(x: &[T], y: &mut [u32]) {
    let bits = |v: &T| u32::from(f16::from_f64(v.f64()).to_bits());
    y.par_iter_mut()
        .zip(x.par_chunks(2))
        .with_min_len(4096)
        .for_each(|(y, x)| *y = bits(&x[0]) | x.get(1).map_or(0, bits) << 16);
}
