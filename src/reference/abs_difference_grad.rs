//! Twin of `shaders/abs_difference_grad.wgsl`.

use super::Scalar;
use super::elementwise::map3;

/// `da = dy` where `a > b`, `-dy` where `a < b`, else 0.
pub fn abs_difference_grad<T: Scalar>(dy: &[T], a: &[T], b: &[T], da: &mut [T]) {
    map3(dy, a, b, da, |dy, a, b| {
        if a > b {
            dy
        } else if a < b {
            -dy
        } else {
            T::zero()
        }
    });
}
