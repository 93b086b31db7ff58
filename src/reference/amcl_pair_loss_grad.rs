//! Twin of `shaders/amcl_pair_loss_grad.wgsl`.

use super::Scalar;
use super::temperature::Temperature;

/// From `[dl, s, r]`: `ds = -dl weight/tau`, `dr = dl (weight s/tau^2 + beta Omega'(tau)) dtau/dr`.
pub fn amcl_pair_loss_grad<T: Scalar>(
    f: &Temperature<T>,
    weight: T,
    [dl, s, r]: [&[T]; 3],
    ds: &mut [T],
    dr: &mut [T],
) {
    for i in 0..dl.len() {
        let tau = f.of(r[i]);
        ds[i] = -dl[i] * weight / tau;
        let dtau = weight * s[i] / (tau * tau) + f.beta * f.omega_slope(tau);
        dr[i] = dl[i] * dtau * f.slope(r[i]);
    }
}
