//! Twin of `shaders/deviation_hinge.wgsl`.

use super::Scalar;
use super::elementwise::map1;

/// y = max(0, 1 - sqrt(x + eps)): how much a deviation lacks to 1, from a variance x.
pub fn deviation_hinge<T: Scalar>(eps: T, x: &[T], y: &mut [T]) {
    map1(x, y, |x| (T::one() - (x + eps).sqrt()).at_least(T::zero()));
}
