//! Twin of `shaders/add.wgsl`.

use super::Scalar;
use super::elementwise::map2;

/// `y = a + b`.
pub fn add<T: Scalar>(a: &[T], b: &[T], y: &mut [T]) {
    map2(a, b, y, |a, b| a + b);
}
