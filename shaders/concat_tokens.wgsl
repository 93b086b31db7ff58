// y[b] = the M tokens of `first` (its own, or p.step = 0: the same for every image), then the N tokens of rest[b].
// p.width elements E a token, p.m and p.n tokens; a dispatch takes p.size elements of y, in whole images. Grid:
// ceil(size / 64) groups, folded.
#import grid
struct Params { size: u32, width: u32, m: u32, n: u32, step: u32, r0: u32, r1: u32, r2: u32 }
@group(1) @binding(0) var<uniform> p: Params;
#ifdef VEC4
alias E = vec4<f32>;
#else
alias E = f32;
#endif
@group(0) @binding(0) var<storage, read> first: array<E>;
@group(0) @binding(1) var<storage, read> rest: array<E>;
@group(0) @binding(2) var<storage, read_write> y: array<E>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = group_index(wid, nwg) * 64u + lid.x;
    if i >= p.size { return; }
    let row = (p.m + p.n) * p.width;
    let image = i / row;
    let at = i % row;
    if at < p.m * p.width {
        y[i] = first[image * p.step + at];
    } else {
        y[i] = rest[image * p.n * p.width + at - p.m * p.width];
    }
}
