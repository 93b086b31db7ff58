// The adapter's fused multiply-add rate, for the roofline of `bench`: a thread runs 8 independent chains of vec4 fma,
// p.rounds rounds of 8 each.
// y[thread] = a sum that keeps the compiler from dropping the chains. Work: groups * 64 * rounds * 8 * 4 * 2
// operations. Grid: p.groups groups, folded.
#import grid
struct Params { groups: u32, rounds: u32, a: f32, b: f32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let g = group_index(wid, nwg);
    if g >= p.groups { return; }
    let a = vec4<f32>(p.a);
    let b = vec4<f32>(p.b);
    var v0 = vec4<f32>(f32(lid.x));
    var v1 = v0 + 1.0;
    var v2 = v0 + 2.0;
    var v3 = v0 + 3.0;
    var v4 = v0 + 4.0;
    var v5 = v0 + 5.0;
    var v6 = v0 + 6.0;
    var v7 = v0 + 7.0;
    for (var i = 0u; i < p.rounds; i = i + 1u) {
        v0 = fma(v0, a, b);
        v1 = fma(v1, a, b);
        v2 = fma(v2, a, b);
        v3 = fma(v3, a, b);
        v4 = fma(v4, a, b);
        v5 = fma(v5, a, b);
        v6 = fma(v6, a, b);
        v7 = fma(v7, a, b);
    }
    let v = v0 + v1 + v2 + v3 + v4 + v5 + v6 + v7;
    y[g * 64u + lid.x] = v.x + v.y + v.z + v.w;
}
