//! Twin of `shaders/abs_difference.wgsl`.

use super::Scalar;
use super::elementwise::map2;

/// `y = |a - b|`, element by element.
pub fn abs_difference<T: Scalar>(a: &[T], b: &[T], y: &mut [T]) {
    map2(a, b, y, |a, b| (a - b).abs());
}
