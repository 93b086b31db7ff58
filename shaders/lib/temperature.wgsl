// Eq. (3) and Omega of the AMCL loss. p.eta, p.iota: bounds; p.half_d = d'/2.
#import nan
// tau = eta + iota / (1 + exp(r)). r is clamped where exp would overflow: tau is eta to the last bit there. A NaN
// stays one.
fn temperature(r: f32) -> f32 { return p.eta + p.iota / (1.0 + exp_or_nan(at_most(r, 80.0))); }
// dtau/dr = -iota sigmoid(r) sigmoid(-r); from e = exp(-|r|), which cannot overflow, so both tails keep their digits.
fn temperature_slope(r: f32) -> f32 {
    let e = exp(-abs(r));
    return -p.iota * e / ((1.0 + e) * (1.0 + e));
}
fn omega(tau: f32) -> f32 { return p.half_d * log(tau) + 1.0 / tau; }
fn omega_slope(tau: f32) -> f32 { return (p.half_d - 1.0 / tau) / tau; }
