// Gradient of slice_tokens: dx[b] is dy[b], p.count elements E, from p.first on, and zero elsewhere. An image has p.row
// elements in dx. A dispatch takes p.size elements of dx, in whole images. Grid: ceil(size / 64) groups, folded.
#import grid
struct Params { size: u32, row: u32, first: u32, count: u32 }
@group(1) @binding(0) var<uniform> p: Params;
#ifdef VEC4
alias E = vec4<f32>;
#else
alias E = f32;
#endif
@group(0) @binding(0) var<storage, read> dy: array<E>;
@group(0) @binding(1) var<storage, read_write> dx: array<E>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = group_index(wid, nwg) * 64u + lid.x;
    if i >= p.size { return; }
    // What stands before the first wraps to a large number.
    let at = i % p.row - p.first;
    if at < p.count {
        dx[i] = dy[i / p.row * p.count + at];
    } else {
        dx[i] = E(0.0);
    }
}
