//! Twin of `shaders/broadcast_scalar.wgsl`.

use super::Scalar;

/// Fills `y` with `x[0]`.
pub fn broadcast_scalar<T: Scalar>(x: &[T], y: &mut [T]) {
    y.fill(x[0]);
}
