//! Twin of `shaders/sum_all.wgsl`.

use super::{Scalar, elementwise};

/// Sum of all elements, or of their squares.
pub fn sum_all<T: Scalar>(square: bool, x: &[T], y: &mut [T]) {
    y[0] = if square {
        elementwise::sum(x, |v| v * v)
    } else {
        elementwise::sum(x, |v| v)
    };
}
