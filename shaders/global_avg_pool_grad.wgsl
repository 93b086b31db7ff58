// dx[n,s,c] = dy[n,c] / S, S = height*width. HALF: dx lies in f16. A thread an element of dx. Grid: ceil(N*S*C / 64)
// groups, folded.
#import grid
#import storage
struct Params { s: u32, c: u32, total: u32, inv: f32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> dx: array<S>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    dx[t] = S(dy[(t / (p.s * p.c)) * p.c + t % p.c] * p.inv);
}
