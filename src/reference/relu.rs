//! Twin of `shaders/relu.wgsl`.

use super::Scalar;
use super::elementwise::map1;

/// `y = max(x, 0)`.
pub fn relu<T: Scalar>(x: &[T], y: &mut [T]) {
    map1(x, y, |x| if x > T::zero() { x } else { T::zero() });
}
