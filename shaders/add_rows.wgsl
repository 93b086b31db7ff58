// y[b,i] = x[b,i] + v[i] for every row b of x: the same table for every image of a batch.
// A dispatch takes p.n elements E of x, in whole rows of p.size elements each. Grid: ceil(n / 64) groups, folded.
#import grid
struct Params { n: u32, size: u32, r0: u32, r1: u32 }
@group(1) @binding(0) var<uniform> p: Params;
#ifdef VEC4
alias E = vec4<f32>;
#else
alias E = f32;
#endif
@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read> v: array<E>;
@group(0) @binding(2) var<storage, read_write> y: array<E>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = group_index(wid, nwg) * 64u + lid.x;
    if i >= p.n { return; }
    y[i] = x[i] + v[i % p.size];
}
