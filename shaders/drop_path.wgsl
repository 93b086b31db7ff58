// y[b] = x[b] + s[b] branch[b]: a residual branch, weighted for each image.
// GRAD: the gradient of the branch alone, s[b] dy[b], dy being bound as the branch.
// p.row elements E an image; a dispatch takes p.size of them, in whole images from number p.first on. Grid: ceil(size /
// 64) groups, folded.
#import grid
struct Params { size: u32, row: u32, first: u32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
#ifdef VEC4
alias E = vec4<f32>;
#else
alias E = f32;
#endif
@group(0) @binding(0) var<storage, read> branch: array<E>;
@group(0) @binding(1) var<storage, read> s: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<E>;
#ifndef GRAD
@group(0) @binding(3) var<storage, read> x: array<E>;
#endif
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = group_index(wid, nwg) * 64u + lid.x;
    if i >= p.size { return; }
    let v = branch[i] * s[p.first + i / p.row];
#ifdef GRAD
    y[i] = v;
#else
    y[i] = x[i] + v;
#endif
}
