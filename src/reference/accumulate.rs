//! Twin of `shaders/accumulate.wgsl`.

use super::Scalar;
use super::elementwise::update1;

/// `acc = (first ? 0 : acc) + factor * g`.
pub fn accumulate<T: Scalar>(first: bool, factor: T, g: &[T], acc: &mut [T]) {
    update1(
        g,
        acc,
        |acc, g| if first { factor * g } else { acc + factor * g },
    );
}
