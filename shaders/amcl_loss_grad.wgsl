// Gradient of amcl_loss.wgsl by the similarities and the scores, from g = dloss [C,A]:
//   positive: ds = -g/tau+, dtau = g (s/tau+^2 + beta Omega'(tau+))
//   softmax candidate, w = exp(s/tau - beta Omega - lse): ds = g w/tau, dtau = -g w (s/tau^2 + beta Omega'(tau))
//   selected top-k candidate, w = 1/k: ds = g w/tau, dtau = -g (w s/tau^2 + beta w Omega'(tau)), or beta (1/tau -
//   1/tau^2) with p.official_sum dr = dtau dtau/dr for the roles that are adaptive; scores that all heads share get a
//   dispatch a head, in order, which adds (p.accumulate).
// A thread an element of s. Grid: ceil(p.rows*N / 64) groups, folded.
#import grid
#import step
#import amcl_params
@group(0) @binding(0) var<storage, read> dloss: array<f32>;
@group(0) @binding(1) var<storage, read> s: array<f32>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<storage, read_write> ds: array<f32>;
#ifdef ADAPTIVE
@group(0) @binding(4) var<storage, read> score: array<f32>;
@group(0) @binding(5) var<storage, read_write> dscore: array<f32>;
#ifdef TOP_K
@group(0) @binding(6) var<storage, read> value: array<f32>;
@group(0) @binding(7) var<storage, read> index: array<u32>;
#endif
#else
#ifdef TOP_K
@group(0) @binding(4) var<storage, read> value: array<f32>;
@group(0) @binding(5) var<storage, read> index: array<u32>;
#endif
#endif
#import candidates
#import temperature
#import weights

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.rows * p.n { return; }
    let j = t % p.n;
    let i = (p.first + t / p.n) % p.a;
    let row = p.off_row + t / p.n;
    let soft = p.softmax == 1u || (p.warmup & step.flags & STEP_WARMUP) == 1u;
    let constant = p.tau_const * step.tau_scale;
    var tau = constant;
    var slope = 0.0;
    var dr = 0.0;
#ifdef ADAPTIVE
    let r = p.off_r + t;
    tau = temperature(score[r]);
    slope = temperature_slope(score[r]);
    if p.accumulate == 1u { dr = dscore[r]; }
#endif
    let tp = select(constant, tau, p.adaptive_pos == 1u);
    let tn = select(constant, tau, p.adaptive_neg == 1u);
    let v = s[p.off_s + t];
    let g = dloss[row];
    var d = 0.0;
    if j == positive_of(i) {
        d = -g / tp;
        if p.adaptive_pos == 1u { dr = dr + g * (v / (tp * tp) + p.beta * omega_slope(tp)) * slope; }
    }
    if is_candidate(i, j) {
        var chosen = false;
#ifdef TOP_K
        chosen = is_selected(v, j, value[row], index[row]);
#endif
        let w = weights(v, tn, norm[row], soft, chosen);
        d = d + g * w.x / tn;
        if p.adaptive_neg == 1u { dr = dr - g * (w.x * v / (tn * tn) + p.beta * w.y) * slope; }
    }
    ds[p.off_s + t] = d;
#ifdef ADAPTIVE
    dscore[r] = dr;
#endif
}
