// The first rows of each view, to look at: y[h, v*R + i, :] = x[h, v*N/2 + i, :] for views v = 0, 1 and i < R; x
// [heads,N,D], y [heads,2R,D].
// A dispatch a head and view copies its p.n = R*D elements; the bound slices start p.off and p.to elements before.
// Grid: a thread an element, ceil(p.n / 64) groups, folded.
#import grid
struct Params { n: u32, off: u32, to: u32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t < p.n { y[p.to + t] = x[p.off + t]; }
}
