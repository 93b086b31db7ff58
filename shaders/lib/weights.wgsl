#import nan
// What a candidate counts in its anchor's loss; for amcl_loss, amcl_stream and their gradients. Needs p.beta,
// p.official_sum and temperature.
// The threshold (value, index) of top_k or top_k_stream: column j of similarity v is selected or not. Column `index`
// is, even where the kernel that reads the threshold was compiled to round v otherwise than the one that made it: an
// anchor never is left without any. A NaN is selected, as it is larger than any number.
fn is_selected(v: f32, j: u32, value: f32, index: u32) -> bool {
    return is_nan(v) || v > value || j == index || (v == value && j < index);
}
// Weight of v/tau in the loss, and what of Omega's slope goes with it, from the norm that the loss keeps
// (log-sum-exp, or 1/k).
fn weights(v: f32, tau: f32, norm: f32, soft: bool, chosen: bool) -> vec2<f32> {
    if soft {
        let w = exp_or_nan(v / tau - p.beta * omega(tau) - norm);
        return vec2<f32>(w, w * omega_slope(tau));
    }
    if !chosen { return vec2<f32>(0.0); }
    return vec2<f32>(norm, select(norm * omega_slope(tau), (1.0 - 1.0 / tau) / tau, p.official_sum == 1u));
}
// Its regulariser when it is selected.
fn selected_omega(tau: f32) -> f32 { return select(omega(tau), log(tau) + 1.0 / tau, p.official_sum == 1u); }
