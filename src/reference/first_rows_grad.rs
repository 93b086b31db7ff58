//! Twin of `shaders/first_rows_grad.wgsl`.

use super::Scalar;

/// `dy` followed by zeros.
pub fn first_rows_grad<T: Scalar>(dy: &[T], dx: &mut [T]) {
    dx[..dy.len()].copy_from_slice(dy);
    dx[dy.len()..].fill(T::zero());
}
