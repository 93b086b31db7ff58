//! Twin of `shaders/gelu.wgsl`.

use super::Scalar;
use super::elementwise::map1;

/// `y = x Phi(x)`, Phi the standard normal's distribution function.
pub fn gelu<T: Scalar>(x: &[T], y: &mut [T]) {
    map1(x, y, |x| x * x.normal().0);
}
