//! Twin of `shaders/deviation_hinge_grad.wgsl`.

use super::Scalar;
use super::elementwise::map2;

/// dx = -dy / (2 sqrt(x + eps)) where sqrt(x + eps) < 1 or a NaN, else 0.
pub fn deviation_hinge_grad<T: Scalar>(eps: T, dy: &[T], x: &[T], dx: &mut [T]) {
    map2(dy, x, dx, |dy, x| {
        let s = (x + eps).sqrt();
        if s >= T::one() {
            T::zero()
        } else {
            -dy / (s + s)
        }
    });
}
