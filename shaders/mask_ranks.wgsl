// Masking by the rank of noise [B,L]: rank_i = how many of the image's values are less than its i-th, or equal and
// before it. The p.keep patches of least rank stay.
// Outputs: rank [B,L], which undoes the order of kept [B,keep], the places of the patches that stay by rank; mask
// [B,L], 1 where a patch is taken out. A thread a patch; no sort is needed, and equal values are ordered.
// Grid: ceil(B L / 64) groups, folded.
#import grid
struct Params { total: u32, n: u32, keep: u32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> noise: array<f32>;
@group(0) @binding(1) var<storage, read_write> rank: array<u32>;
@group(0) @binding(2) var<storage, read_write> kept: array<u32>;
@group(0) @binding(3) var<storage, read_write> mask: array<f32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let i = t % p.n;
    let at = t - i;
    let own = noise[t];
    var before = 0u;
    for (var j = 0u; j < p.n; j = j + 1u) {
        let v = noise[at + j];
        before = before + select(0u, 1u, v < own || (v == own && j < i));
    }
    rank[t] = before;
    mask[t] = select(1.0, 0.0, before < p.keep);
    if before < p.keep { kept[t / p.n * p.keep + before] = i; }
}
