//! Eq. (3) and Omega of the AMCL loss (`shaders/lib/temperature.wgsl`), for the twins of the losses.

use super::Scalar;

/// Bounds of the temperature and weight of its regulariser.
#[derive(Clone, Copy, Debug)]
pub struct Temperature<T> {
    /// Weight of Omega.
    pub beta: T,
    /// Least temperature.
    pub eta: T,
    /// Largest minus least temperature.
    pub iota: T,
    /// d'/2.
    pub half_d: T,
}

impl<T: Scalar> Temperature<T> {
    /// Eq. (3): `tau = eta + iota / (1 + exp(r))`.
    #[inline(always)]
    pub fn of(&self, r: T) -> T {
        self.eta + self.iota / (T::one() + r.at_most(T::of(80.0)).exp_of_many())
    }
    /// `dtau/dr = -iota sigmoid(r) sigmoid(-r)`.
    #[inline(always)]
    pub fn slope(&self, r: T) -> T {
        let e = (-r.abs()).exp_of_many();
        -self.iota * e / ((T::one() + e) * (T::one() + e))
    }
    /// `Omega(tau) = d'/2 log tau + 1/tau`.
    #[inline(always)]
    pub fn omega(&self, tau: T) -> T {
        self.half_d * tau.ln_of_many() + T::one() / tau
    }
    /// `Omega'(tau)`.
    #[inline(always)]
    pub fn omega_slope(&self, tau: T) -> T {
        (self.half_d - T::one() / tau) / tau
    }
}
