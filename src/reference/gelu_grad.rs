//! Twin of `shaders/gelu_grad.wgsl`.

use super::Scalar;
use super::elementwise::map2;

/// `dx = dy (Phi(x) + x phi(x))`, phi the standard normal's density.
pub fn gelu_grad<T: Scalar>(dy: &[T], x: &[T], dx: &mut [T]) {
    // 1 / sqrt(2 pi).
    let scale = T::of(0.398_942_280_401_432_7);
    map2(dy, x, dx, |dy, x| {
        let (phi, e) = x.normal();
        dy * (phi + x * e * scale)
    });
}
