//! Twin of `shaders/fma_probe.wgsl`.

use super::Scalar;

/// `y` [groups*64]: the sum of 8 chains of 4 equal values, each `rounds` times v a + b from lane + chain on.
pub fn fma_probe<T: Scalar>(rounds: usize, a: T, b: T, y: &mut [T]) {
    for (i, y) in y.iter_mut().enumerate() {
        let chain = |c: usize| (0..rounds).fold(T::of((i % 64 + c) as f64), |v, _| v.mul_add(a, b));
        *y = (0..8).map(chain).sum::<T>() * T::of(4.0);
    }
}
