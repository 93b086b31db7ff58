//! Twin of `shaders/first_rows.wgsl`.

use super::Scalar;

/// Copies the first elements.
pub fn first_rows<T: Scalar>(x: &[T], y: &mut [T]) {
    y.copy_from_slice(&x[..y.len()]);
}
