//! Twin of `shaders/stop_gradient.wgsl`.

use super::Scalar;

/// y = x.
pub fn stop_gradient<T: Scalar>(x: &[T], y: &mut [T]) {
    y.copy_from_slice(x);
}
