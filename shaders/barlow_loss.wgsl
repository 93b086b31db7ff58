// Barlow Twins, plain and Eq. (2.3): each row l of a cross-correlation k [C,D,D] gives
//   (1 - k_ll/tau_ll)^2 + beta Omega(tau_ll) + sum_{m != l} (lambda k_lm^2/tau_lm - beta Omega(tau_lm)),
// tau = eta + iota / (1 + exp(r)) from scores r [C,D,D] (ADAPTIVE), else tau = p.tau_on or _off (1 in the plain loss)
// and no Omega; likewise on or off the diagonal alone, without p.adaptive_on or _off. loss [C*D] sums a row.
// Grid: a group a row, folded. 64 threads stride, then a tree.
#import grid
struct Params {
    rows: u32, d: u32, lambda: f32, beta: f32, eta: f32, iota: f32, half_d: f32, total: u32, adaptive_on: u32,
    adaptive_off: u32, tau_on: f32, tau_off: f32,
}
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> k: array<f32>;
@group(0) @binding(1) var<storage, read_write> loss: array<f32>;
#ifdef ADAPTIVE
@group(0) @binding(2) var<storage, read> score: array<f32>;
#import temperature
#endif
var<workgroup> lane: array<f32, 64>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let row = group_index(wid, nwg);
    if row >= p.rows { return; }
    let l = lid.x;
    var s = 0.0;
    for (var m = l; m < p.d; m = m + 64u) {
        let v = k[row * p.d + m];
        let constant = select(p.tau_off, p.tau_on, m == row % p.d);
#ifdef ADAPTIVE
        let adaptive = select(p.adaptive_off, p.adaptive_on, m == row % p.d) == 1u;
        let tau = select(constant, temperature(score[row * p.d + m]), adaptive);
        let reg = select(0.0, p.beta * omega(tau), adaptive);
#else
        let tau = constant;
        let reg = 0.0;
#endif
        let on = 1.0 - v / tau;
        s = s + select(p.lambda * v * v / tau - reg, on * on + reg, m == row % p.d);
    }
    lane[l] = s;
    workgroupBarrier();
    for (var h = 32u; h > 0u; h = h / 2u) {
        if l < h { lane[l] = lane[l] + lane[l + h]; }
        workgroupBarrier();
    }
    if l == 0u { loss[row] = lane[0]; }
}
