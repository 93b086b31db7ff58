// The AMCL loss of pairs without negatives, Eq. (2.2): l = -w s/tau + beta Omega(tau), tau = eta + iota / (1 + exp(r)).
// s, r, l: any shape, flattened. Grid: a thread an element, ceil(total / 64) groups, folded.
#import grid
struct Params { total: u32, weight: f32, beta: f32, eta: f32, iota: f32, half_d: f32, r0: u32, r1: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> s: array<f32>;
@group(0) @binding(1) var<storage, read> score: array<f32>;
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;
#import temperature
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let tau = temperature(score[t]);
    loss[t] = p.beta * omega(tau) - p.weight * s[t] / tau;
}
