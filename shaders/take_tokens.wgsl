// y[b,j] = x[b, index[b,j]], or the fill (FILL; else zero) where the index is none of the N tokens of x.
// p.width elements E a token, p.m tokens an image in y; a dispatch takes p.size elements of y, in whole images. Grid:
// ceil(size / 64) groups, folded.
#import grid
struct Params { size: u32, width: u32, m: u32, n: u32 }
@group(1) @binding(0) var<uniform> p: Params;
#ifdef VEC4
alias E = vec4<f32>;
#else
alias E = f32;
#endif
@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<E>;
#ifdef FILL
@group(0) @binding(3) var<storage, read> fill: array<E>;
#endif
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = group_index(wid, nwg) * 64u + lid.x;
    if i >= p.size { return; }
    let row = i / p.width;
    let c = i % p.width;
    let from_token = index[row];
    if from_token < p.n {
        y[i] = x[(row / p.m * p.n + from_token) * p.width + c];
    } else {
#ifdef FILL
        y[i] = fill[c];
#else
        y[i] = E(0.0);
#endif
    }
}
