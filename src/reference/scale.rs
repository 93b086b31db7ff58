//! Twin of `shaders/scale.wgsl`.

use super::Scalar;
use super::elementwise::map1;

/// `y = factor * x`.
pub fn scale<T: Scalar>(factor: T, x: &[T], y: &mut [T]) {
    map1(x, y, |x| factor * x);
}
