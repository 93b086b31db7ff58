//! Twin of `shaders/batch_norm_running.wgsl`.

use super::Scalar;

/// `running = (1 - momentum) running + momentum * factor * batch`.
pub fn batch_norm_running<T: Scalar>(momentum: T, factor: T, batch: &[T], running: &mut [T]) {
    running
        .iter_mut()
        .zip(batch)
        .for_each(|(r, b)| *r = (T::one() - momentum) * *r + momentum * (factor * *b));
}
