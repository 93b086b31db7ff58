// y[n,c] = 1/S sum_s x[n,s,c], S = height*width. HALF: x lies in f16. A thread an (n,c). Grid: ceil(N*C / 64) groups, folded.
#import grid
#import storage
struct Params { s: u32, c: u32, total: u32, inv: f32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> x: array<S>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let base = (t / p.c) * p.s * p.c + t % p.c;
    var sum = 0.0;
    for (var i = 0u; i < p.s; i = i + 1u) { sum = sum + f32(x[base + i * p.c]); }
    y[t] = sum * p.inv;
}
