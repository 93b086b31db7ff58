//! Twin of `shaders/relu.wgsl`.

use super::Scalar;
use super::elementwise::map1;

/// `y = max(x, 0)`; a NaN stays one.
pub fn relu<T: Scalar>(x: &[T], y: &mut [T]) {
    map1(x, y, |x| x.at_least(T::zero()));
}
