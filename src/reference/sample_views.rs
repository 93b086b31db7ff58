//! Twin of `shaders/sample_views.wgsl`.

use super::Scalar;

/// The first `rows` rows of d values of each half of each head of x [heads, n, d] -> y [heads, 2*rows, d].
pub fn sample_views<T: Scalar>(n: usize, rows: usize, d: usize, x: &[T], y: &mut [T]) {
    for (half, y) in y.chunks_mut(rows * d).enumerate() {
        y.copy_from_slice(&x[half * (n / 2) * d..][..rows * d]);
    }
}
