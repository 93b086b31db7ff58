//! Twin of `shaders/micro_part.wgsl`.

use super::Scalar;

/// Copies part `micro` of x, as long as y.
///
/// # Panics
/// When x has no such part.
pub fn micro_part<T: Scalar>(micro: usize, x: &[T], y: &mut [T]) {
    let start = micro * y.len();
    y.copy_from_slice(&x[start..start + y.len()]);
}
