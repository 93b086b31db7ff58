//! Twin of `shaders/cast_f16.wgsl`.

use super::Scalar;
use super::elementwise::map1;

/// The nearest half of each element, ties to even.
pub fn cast_f16<T: Scalar>(x: &[T], y: &mut [T]) {
    map1(x, y, T::half);
}
