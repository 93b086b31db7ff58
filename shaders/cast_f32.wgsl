// y[i] = half i of x as f32; x holds two f16 a word, the first in the low half. A thread a word.
// Exact, by integer arithmetic: the built-in is not everywhere.
// Grid: ceil(ceil(n/2) / 64) groups, folded.
#import grid
struct Params { n: u32, total: u32, r0: u32, r1: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
fn float(h: u32) -> f32 {
    let sign = (h & 0x8000u) << 16u;
    let e = (h >> 10u) & 31u;
    let m = h & 0x3ffu;
    if e == 0u {
        // Subnormal halves count units of 2^-24, which are normal floats.
        return bitcast<f32>(sign | bitcast<u32>(f32(m) * 5.9604644775390625e-8));
    }
    return bitcast<f32>(sign | (select(e + 112u, 255u, e == 31u) << 23u) | (m << 13u));
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = group_index(wid, nwg) * 64u + lid.x;
    if i >= p.total { return; }
    y[2u * i] = float(x[i] & 0xffffu);
    if 2u * i + 1u < p.n { y[2u * i + 1u] = float(x[i] >> 16u); }
}
