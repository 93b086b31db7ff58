// Embedding of the level s of each image's noise, y [B,D]: sin(s f_i), i < H = D/2, and behind these cos(s f_i), with
// f_i = 10000^(-i / (H - 1)). p.a = -log2(10000) / (H - 1). A thread a pair. Grid: ceil(B H / 64) groups, folded.
#import grid
#import angle
struct Params { total: u32, count: u32, a: f32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> level: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let image = t / p.count;
    let i = t % p.count;
    let v = angle(level[image] * exp2(p.a * f32(i)));
    let at = image * 2u * p.count + i;
    y[at] = v.y;
    y[at + p.count] = v.x;
}
