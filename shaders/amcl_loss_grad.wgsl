// Gradient of amcl_loss.wgsl by the similarities and the scores, from g = dloss [C,A]:
//   positive: ds = -g/tau+, dtau = g (s/tau+^2 + beta Omega'(tau+))
//   softmax candidate, w = exp(s/tau - beta Omega - lse): ds = g w/tau, dtau = -g w (s/tau^2 + beta Omega'(tau))
//   selected top-k candidate, w = 1/k: ds = g w/tau, dtau = -g (w s/tau^2 + beta w Omega'(tau)), or beta (1/tau - 1/tau^2) with p.official_sum
//   dr = dtau dtau/dr for the roles that are adaptive; with heads_r = 1 it sums over the heads, in order.
// A thread an element of r (of s without ADAPTIVE); with heads_r = 1 it loops over the heads. Grid: ceil(heads_r*A*N / 64) groups, folded.
#import grid
#import step
struct Params {
    c: u32, a: u32, n: u32, heads_r: u32,
    ntxent: u32, include_positive: u32, softmax: u32, warmup: u32,
    adaptive_pos: u32, adaptive_neg: u32, official_sum: u32, kappa: u32,
    beta: f32, eta: f32, iota: f32, tau_const: f32,
    half_d: f32, total: u32, r0: u32, r1: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> dloss: array<f32>;
@group(0) @binding(1) var<storage, read> s: array<f32>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<storage, read_write> ds: array<f32>;
#ifdef ADAPTIVE
@group(0) @binding(4) var<storage, read> score: array<f32>;
@group(0) @binding(5) var<storage, read_write> dscore: array<f32>;
#ifdef TOPK
@group(0) @binding(6) var<storage, read> value: array<f32>;
@group(0) @binding(7) var<storage, read> index: array<u32>;
#endif
#else
#ifdef TOPK
@group(0) @binding(4) var<storage, read> value: array<f32>;
@group(0) @binding(5) var<storage, read> index: array<u32>;
#endif
#endif
#import candidates
#import temperature

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let j = t % p.n;
    let i = (t / p.n) % p.a;
    let soft = p.softmax == 1u || (p.warmup & step.flags & STEP_WARMUP) == 1u;
    var tau = p.tau_const;
    var slope = 0.0;
#ifdef ADAPTIVE
    tau = temperature(score[t]);
    slope = temperature_slope(score[t]);
#endif
    let tp = select(p.tau_const, tau, p.adaptive_pos == 1u);
    let tn = select(p.tau_const, tau, p.adaptive_neg == 1u);
    let first = t / (p.n * p.a);
    let last = select(first + 1u, p.c, p.heads_r == 1u);
    var dr = 0.0;
    for (var c = first; c < last; c = c + 1u) {
        let row = c * p.a + i;
        let at = row * p.n + j;
        let v = s[at];
        let g = dloss[row];
        var d = 0.0;
        if j == positive_of(i) {
            d = -g / tp;
            if p.adaptive_pos == 1u { dr = dr + g * (v / (tp * tp) + p.beta * omega_slope(tp)) * slope; }
        }
        if is_candidate(i, j) {
            var w = 0.0;
            var reg = omega_slope(tn);
            if soft {
                w = exp(v / tn - p.beta * omega(tn) - norm[row]);
                reg = w * reg;
            } else {
#ifdef TOPK
                if v > value[row] || (v == value[row] && j <= index[row]) {
                    w = norm[row];
                    reg = select(w * reg, (1.0 - 1.0 / tn) / tn, p.official_sum == 1u);
                } else {
                    reg = 0.0;
                }
#endif
            }
            d = d + g * w / tn;
            if p.adaptive_neg == 1u { dr = dr - g * (w * v / (tn * tn) + p.beta * reg) * slope; }
        }
        ds[at] = d;
    }
#ifdef ADAPTIVE
    dscore[t] = dr;
#endif
}
