//! Twin of `shaders/unscale.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// `g_i = g_i / scale`.
pub fn unscale<T: Scalar>(scale: T, g: &mut [T]) {
    let factor = T::one() / scale;
    g.par_iter_mut()
        .with_min_len(1 << 14)
        .for_each(|v| *v *= factor);
}
