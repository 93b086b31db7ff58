//! Twin of `shaders/amcl_pair_loss.wgsl`.

use super::Scalar;
use super::temperature::Temperature;

/// `l = -weight s/tau(r) + beta Omega(tau(r))`, element by element.
pub fn amcl_pair_loss<T: Scalar>(f: &Temperature<T>, weight: T, s: &[T], r: &[T], l: &mut [T]) {
    for ((l, s), r) in l.iter_mut().zip(s).zip(r) {
        let tau = f.of(*r);
        *l = f.beta * f.omega(tau) - weight * *s / tau;
    }
}
