// y[b] = p.count elements E of x[b] from p.first on: some of an image's tokens. An image has p.row elements in x.
// A dispatch takes p.size elements of y, in whole images. Grid: ceil(size / 64) groups, folded.
#import grid
struct Params { size: u32, row: u32, first: u32, count: u32 }
@group(1) @binding(0) var<uniform> p: Params;
#ifdef VEC4
alias E = vec4<f32>;
#else
alias E = f32;
#endif
@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read_write> y: array<E>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = group_index(wid, nwg) * 64u + lid.x;
    if i >= p.size { return; }
    y[i] = x[i / p.count * p.row + p.first + i % p.count];
}
