//! Twin of `shaders/loss_scale.wgsl`.

use super::Scalar;

/// What dynamic loss scaling keeps between steps.
#[derive(Debug)]
pub struct State<'a, T> {
    /// The loss is multiplied by this; a power of two.
    pub scale: &'a mut T,
    /// Steps in a row whose gradient was finite, since the scale last changed.
    pub good: &'a mut T,
    /// Steps skipped so far.
    pub skipped: &'a mut T,
    /// The optimiser's latch: step + 1 of the step that halted it, or 0.
    pub halt: &'a mut u32,
}

/// Behind the optimiser's update number `step`, with the loss and the squared norm of the unscaled gradient.
pub fn loss_scale<T: Scalar>(interval: T, step: u32, [norm2, loss]: [T; 2], s: State<'_, T>) {
    let one = T::one();
    if !norm2.is_finite() {
        if *s.halt == step + 1 && *s.scale > one && loss.is_finite() {
            *s.scale *= T::of(0.5);
            *s.good = T::zero();
            *s.skipped += one;
            *s.halt = 0;
        }
    } else if *s.good + one >= interval {
        *s.scale = (*s.scale + *s.scale).at_most(T::of(16_777_216.0));
        *s.good = T::zero();
    } else {
        *s.good += one;
    }
}
