//! Twin of `shaders/constant.wgsl`.

use super::Scalar;

/// Fills `y` with `value`.
pub fn constant<T: Scalar>(value: T, y: &mut [T]) {
    y.fill(value);
}
