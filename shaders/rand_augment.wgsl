// One operation of RandAugment on each image [S,S,3], as PIL and timm have it on levels 0..255, by the image's entry of
// a table: kind, then up to six numbers (reference/rand_augment.rs names the kinds).
// BICUBIC: what moves is seen through a cubic convolution with a = -1 (PIL's `transform`), else bilinearly.
// FIRST: x holds numbers in [0,1], which become whole levels; else levels. LAST: y is normalised, (level / 255 - mean)
// inv_std; else levels.
// A group of 256 threads an image counts levels and grays, makes each channel's table of levels, and applies the
// operation. Grid: n groups, folded.
#import grid
struct Params {
    images: u32, size: u32, row: u32, entry: u32,
    mean: vec4<f32>,
    inv_std: vec4<f32>,
    fill: vec4<f32>,
}
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
var<workgroup> bins: array<atomic<u32>, 768>;
var<workgroup> levels: array<u32, 768>;
var<workgroup> grays: atomic<u32>;

fn at(i: u32) -> vec3<f32> {
    let v = vec3<f32>(x[i * 3u], x[i * 3u + 1u], x[i * 3u + 2u]);
#ifdef FIRST
    return floor(saturate(v) * 255.0 + 0.5);
#else
    return v;
#endif
}
// PIL cuts a level's fraction off; 2^-10 keeps what is whole in exact arithmetic from lying below in f32.
fn level(v: vec3<f32>) -> vec3<f32> {
    return floor(clamp(v, vec3<f32>(0.0), vec3<f32>(255.0)) + 0.0009765625);
}
fn blend(v: vec3<f32>, other: vec3<f32>, factor: f32) -> vec3<f32> { return level(other + factor * (v - other)); }
fn gray(v: vec3<f32>) -> u32 {
    let w = vec3<u32>(v) * vec3<u32>(19595u, 38470u, 7471u);
    return (w.x + w.y + w.z + 0x8000u) >> 16u;
}
// PIL's SMOOTH at pixel i of the image from pixel `base` on; the border stays.
fn smoothed(base: u32, i: u32) -> vec3<f32> {
    let v = at(base + i);
    let r = i / p.size;
    let c = i % p.size;
    if r == 0u || c == 0u || r + 1u >= p.size || c + 1u >= p.size { return v; }
    var sum = 4.0 * v;
    for (var k = r - 1u; k <= r + 1u; k = k + 1u) {
        for (var j = c - 1u; j <= c + 1u; j = j + 1u) { sum = sum + at(base + k * p.size + j); }
    }
    return level(sum / 13.0 + 0.5);
}
fn pixel(base: u32, r: i32, c: i32) -> vec3<f32> {
    let last = i32(p.size) - 1;
    return at(base + u32(clamp(r, 0, last)) * p.size + u32(clamp(c, 0, last)));
}
#ifdef BICUBIC
// Between b and c, the share d of the way.
fn cubic(a: vec3<f32>, b: vec3<f32>, c: vec3<f32>, e: vec3<f32>, d: f32) -> vec3<f32> {
    return b + d * (c - a + d * (2.0 * (a - b) + c - e + d * (b - a + e - c)));
}
fn along(base: u32, r: i32, c: i32, d: f32) -> vec3<f32> {
    return cubic(pixel(base, r, c - 1), pixel(base, r, c), pixel(base, r, c + 1), pixel(base, r, c + 2), d);
}
#endif
fn moved(base: u32, i: u32, t: u32) -> vec3<f32> {
    let u = f32(i % p.size) + 0.5;
    let v = f32(i / p.size) + 0.5;
    let a = vec2<f32>(
        table[t] * u + table[t + 1u] * v + table[t + 2u],
        table[t + 3u] * u + table[t + 4u] * v + table[t + 5u],
    );
    if any(a < vec2<f32>(0.0)) || any(a >= vec2<f32>(f32(p.size))) { return p.fill.xyz; }
    let whole = floor(a - 0.5);
    let part = a - 0.5 - whole;
    let c = i32(whole.x);
    let r = i32(whole.y);
#ifdef BICUBIC
    return level(cubic(
        along(base, r - 1, c, part.x), along(base, r, c, part.x),
        along(base, r + 1, c, part.x), along(base, r + 2, c, part.x), part.y,
    ));
#else
    let above = mix(pixel(base, r, c), pixel(base, r, c + 1), part.x);
    let below = mix(pixel(base, r + 1, c), pixel(base, r + 1, c + 1), part.x);
    return level(mix(above, below, part.y));
#endif
}
// The table of levels of channel `c`: a range stretched (kind 1), a histogram levelled (kind 2), else as it is.
fn make_levels(c: u32, kind: u32) {
    var first = 256u;
    var last = 0u;
    var total = 0u;
    for (var i = 0u; i < 256u; i = i + 1u) {
        let n = atomicLoad(&bins[c * 256u + i]);
        if n > 0u {
            first = min(first, i);
            last = i;
        }
        total = total + n;
    }
    let step = (total - atomicLoad(&bins[c * 256u + last])) / 255u;
    var n = step / 2u;
    for (var i = 0u; i < 256u; i = i + 1u) {
        var v = i;
        if kind == 1u && last > first { v = (clamp(i, first, last) - first) * 255u / (last - first); }
        if kind == 2u && last > first && step > 0u {
            v = min(n / step, 255u);
            n = n + atomicLoad(&bins[c * 256u + i]);
        }
        levels[c * 256u + i] = v;
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let image = group_index(wid, nwg);
    if image >= p.images { return; }
    let l = lid.x;
    let n = p.size * p.size;
    let base = image * n;
    let t = image * p.row + p.entry;
    let kind = u32(table[t]);
    let a = table[t + 1u];
    for (var i = l; i < 768u; i = i + 256u) { atomicStore(&bins[i], 0u); }
    if l == 0u { atomicStore(&grays, 0u); }
    workgroupBarrier();
    if kind == 1u || kind == 2u || kind == 8u {
        var sum = 0u;
        for (var i = l; i < n; i = i + 256u) {
            let v = at(base + i);
            atomicAdd(&bins[u32(v.x)], 1u);
            atomicAdd(&bins[256u + u32(v.y)], 1u);
            atomicAdd(&bins[512u + u32(v.z)], 1u);
            sum = sum + gray(v);
        }
        atomicAdd(&grays, sum);
    }
    workgroupBarrier();
    if l < 3u && kind < 3u { make_levels(l, kind); }
    workgroupBarrier();
    let total = atomicLoad(&grays);
    let mean = f32(total / n + select(0u, 1u, total % n * 2u >= n));
    for (var i = l; i < n; i = i + 256u) {
        var v = at(base + i);
        switch kind {
            case 1u, 2u: {
                v = vec3<f32>(
                    f32(levels[u32(v.x)]), f32(levels[256u + u32(v.y)]), f32(levels[512u + u32(v.z)]),
                );
            }
            case 3u: { v = 255.0 - v; }
            case 4u: { v = floor(v / a) * a; }
            case 5u: { v = select(255.0 - v, v, v < vec3<f32>(a)); }
            case 6u: { v = select(v, min(v + a, vec3<f32>(255.0)), v < vec3<f32>(128.0)); }
            case 7u: { v = blend(v, vec3<f32>(f32(gray(v))), a); }
            case 8u: { v = blend(v, vec3<f32>(mean), a); }
            case 9u: { v = blend(v, vec3<f32>(0.0), a); }
            case 10u: { v = blend(v, smoothed(base, i), a); }
            case 11u: { v = moved(base, i, t + 1u); }
            default: {}
        }
#ifdef LAST
        v = (v / 255.0 - p.mean.xyz) * p.inv_std.xyz;
#endif
        let o = (base + i) * 3u;
        y[o] = v.x;
        y[o + 1u] = v.y;
        y[o + 2u] = v.z;
    }
}
