//! Twin of `shaders/reciprocal.wgsl`.

use super::Scalar;
use super::elementwise::map1;

/// `y = 1 / max(a x + b, 1e-6)`.
pub fn reciprocal<T: Scalar>(a: T, b: T, x: &[T], y: &mut [T]) {
    let least = T::of(1e-6);
    map1(x, y, |x| T::one() / (a * x + b).at_least(least));
}
