// Gradient of barlow_loss from g = dloss [C*D], element by element of k [C,D,D]:
//   diagonal: dk = -2 g (1 - k/tau)/tau, dtau = g (2 (1 - k/tau) k/tau^2 + beta Omega'(tau)); else dk = 2 g lambda
//   k/tau, dtau = -g (lambda k^2/tau^2 + beta Omega'(tau)).
//   dr = dtau dtau/dr (ADAPTIVE), 0 where the temperature is constant. Grid: a thread an element, ceil(C*D*D / 64)
//   groups, folded.
#import grid
struct Params {
    rows: u32, d: u32, lambda: f32, beta: f32, eta: f32, iota: f32, half_d: f32, total: u32, adaptive_on: u32,
    adaptive_off: u32, tau_on: f32, tau_off: f32,
}
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> dloss: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read_write> dk: array<f32>;
#ifdef ADAPTIVE
@group(0) @binding(3) var<storage, read> score: array<f32>;
@group(0) @binding(4) var<storage, read_write> dscore: array<f32>;
#import temperature
#endif
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let row = t / p.d;
    let diagonal = t % p.d == row % p.d;
    let g = dloss[row];
    let v = k[t];
    let constant = select(p.tau_off, p.tau_on, diagonal);
#ifdef ADAPTIVE
    let adaptive = select(p.adaptive_off, p.adaptive_on, diagonal) == 1u;
    let tau = select(constant, temperature(score[t]), adaptive);
    let reg = p.beta * omega_slope(tau);
#else
    let tau = constant;
#endif
    let on = 1.0 - v / tau;
    dk[t] = g * select(2.0 * p.lambda * v / tau, -2.0 * on / tau, diagonal);
#ifdef ADAPTIVE
    let off = -(p.lambda * v * v / (tau * tau) + reg);
    let dtau = select(off, 2.0 * on * v / (tau * tau) + reg, diagonal);
    dscore[t] = select(0.0, g * dtau * temperature_slope(score[t]), adaptive);
#endif
}
