//! Twin of `shaders/exp.wgsl`.

use super::Scalar;
use super::elementwise::map1;

/// `y = exp(factor x)`.
pub fn exp<T: Scalar>(factor: T, x: &[T], y: &mut [T]) {
    map1(x, y, |x| (factor * x).exp());
}
