// Gaussian noise e [B,..] of an image's level: e = level N(0, 1), four numbers at a time from block i of the image's
// stream, words [B,5] = key (2 words), counter words 1 to 3 (lib/philox.wgsl).
// With a in (0, 1] and b in [0, 1) of 24 bits each: sqrt(-2 ln a) (cos 2 pi b, sin 2 pi b) (Box, Muller, 1958). The
// logarithm is by arithmetic alone: WGSL lets its own be wrong by 2^-21 near 1, half a per mille of the root.
// A thread a block, p.blocks an image of p.row numbers. Grid: ceil(B blocks / 64) groups, folded.
#import grid
#import philox
#import angle
struct Params { total: u32, blocks: u32, row: u32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> words: array<u32>;
@group(0) @binding(1) var<storage, read> level: array<f32>;
@group(0) @binding(2) var<storage, read_write> e: array<f32>;

// ln x for a normal x, by the polynomial of Cephes' logf: x = m 2^k, m in [sqrt 1/2, sqrt 2).
fn logarithm(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    // 0x3504f3 is the mantissa of sqrt 2: what exceeds it counts for the next power.
    let above = select(0u, 1u, (bits & 0x7fffffu) > 0x3504f3u);
    let k = f32(i32(bits >> 23u) - 127 + i32(above));
    let f = bitcast<f32>((bits & 0x7fffffu) | ((127u - above) << 23u)) - 1.0;
    var q = 7.0376836292e-2;
    q = fma(q, f, -1.1514610310e-1);
    q = fma(q, f, 1.1676998740e-1);
    q = fma(q, f, -1.2420140846e-1);
    q = fma(q, f, 1.4249322787e-1);
    q = fma(q, f, -1.6668057665e-1);
    q = fma(q, f, 2.0000714765e-1);
    q = fma(q, f, -2.4999993993e-1);
    q = fma(q, f, 3.3333331174e-1);
    let z = f * f;
    let low = fma(k, -2.12194440e-4, fma(-0.5, z, q * z * f));
    return fma(k, 0.693359375, f + low);
}
fn pair(a: u32, b: u32) -> vec2<f32> {
    let unit = 1.0 / 16777216.0;
    let radius = sqrt(-2.0 * logarithm(f32(16777216u - (a >> 8u)) * unit));
    return radius * angle(6.28318531 * f32(b >> 8u) * unit);
}
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let image = t / p.blocks;
    let block = t % p.blocks;
    let at = image * 5u;
    let counter = vec4<u32>(block, words[at + 2u], words[at + 3u], words[at + 4u]);
    let w = philox(counter, vec2<u32>(words[at], words[at + 1u]));
    let v = vec4<f32>(pair(w.x, w.y), pair(w.z, w.w)) * level[image];
    for (var i = 0u; i < min(4u, p.row - block * 4u); i = i + 1u) { e[image * p.row + block * 4u + i] = v[i]; }
}
