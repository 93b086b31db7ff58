// y[i] = x[2i] as f16 in the low half, x[2i+1] as f16 in the high half; an odd end is padded with zero. Rounds to
// nearest, ties to even; past 65504 to infinity. By integer arithmetic: the built-in leaves rounding open and is not
// everywhere. Grid: ceil(ceil(n/2) / 64) groups, folded.
#import grid
struct Params { n: u32, total: u32, r0: u32, r1: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
fn half(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    let sign = (bits >> 16u) & 0x8000u;
    let a = bits & 0x7fffffffu;
    if a > 0x7f800000u { return sign | 0x7e00u; }
    if a >= 0x477ff000u { return sign | 0x7c00u; }
    // Subnormal halves count units of 2^-24.
    if a < 0x38800000u { return sign | u32(round(abs(v) * 16777216.0)); }
    return sign | (((a + 0xfffu + ((a >> 13u) & 1u)) >> 13u) - 0x1c000u);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = group_index(wid, nwg) * 64u + lid.x;
    if i >= p.total { return; }
    var high = 0.0;
    if 2u * i + 1u < p.n { high = x[2u * i + 1u]; }
    y[i] = half(x[2u * i]) | (half(high) << 16u);
}
