//! Twin of `shaders/ema.wgsl`.

use super::Scalar;
use super::elementwise::update1;

/// `target = m * target + (1 - m) * x`.
pub fn ema<T: Scalar>(m: T, x: &[T], target: &mut [T]) {
    update1(x, target, |t, x| m * t + (T::one() - m) * x);
}
