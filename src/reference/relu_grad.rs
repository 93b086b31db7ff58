//! Twin of `shaders/relu_grad.wgsl`.

use super::Scalar;
use super::elementwise::map2;

/// `dx = dy` where `y > 0` or a NaN, else 0.
pub fn relu_grad<T: Scalar>(dy: &[T], y: &[T], dx: &mut [T]) {
    map2(dy, y, dx, |dy, y| y.lets_through(dy));
}
