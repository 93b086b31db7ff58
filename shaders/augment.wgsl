// Views of uint8 images, y[r,i,j,:] from image r mod B by row r of the table: crop and resize (antialiased, as Pillow
// and torchvision do it), mirror, colour adjustments in the row's order, gray, Gaussian blur (border reflected),
// solarise, (v - mean) / std.
//   filters, of a distance d in pixels of the larger size: the triangle 1 - d; BICUBIC: Keys' cubic convolution,
//   a = -1/2, two pixels far, with values clamped to [0, 1] after each axis (rows of the image first).
//   adjustments: v' = clamp(f v + (1-f) o), o = 0 (brightness), the mean gray of the image as it is then (contrast),
//   the pixel's gray (saturation); hue: HSV turned.
// Table row (16 f32): top, left, height, width, flip, order (base-5 digits), 4 factors, gray, blur radius, blur
// sigma, solarise threshold, width of the stored image, unused.
// Images: bytes packed in little-endian words, rows, columns, RGB; each at the beginning of p.words words, of its own
// width. Out: [R,S,S,3] f32.
// `main`: a group of 64 threads a view does everything up to the blur. A thread makes BAND pixels of a column at once:
// it filters each row of the image that they see once, and adds it to those that see it. For the adjustments a thread
// has every 64th pixel, whoever made it. Grid: R groups, folded.
// `blur` (AXIS_X: along rows into a temporary; else along columns, then solarise and normalise): a thread a pixel.
// Grid: ceil(R*S*S / 64), folded.
// p.first: number of the first view of this piece of the table.
#import grid
struct Params {
    images: u32, size: u32, words: u32, rows: u32,
    first: u32, finish: u32,
    mean: vec4<f32>,
    inv_std: vec4<f32>,
}
@group(1) @binding(0) var<uniform> p: Params;
const LUMA = vec3<f32>(0.2989, 0.587, 0.114);

#ifdef MAIN
@group(0) @binding(0) var<storage, read> image: array<u32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#else
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#endif

fn finish(v: vec3<f32>, threshold: f32) -> vec3<f32> {
    return (select(v, 1.0 - v, v >= vec3<f32>(threshold)) - p.mean.xyz) * p.inv_std.xyz;
}

#ifdef MAIN
var<workgroup> lane: array<f32, 64>;
// Pixels of a column that a thread makes at once.
const BAND = 8u;

fn byte(i: u32) -> f32 { return f32((image[i >> 2u] >> (8u * (i & 3u))) & 255u); }
fn pixel(i: u32) -> vec3<f32> { return vec3<f32>(byte(i), byte(i + 1u), byte(i + 2u)) / 255.0; }

// Inputs that output i of a line sees: first, one past the last; its centre, and how much wider the filter is.
struct Taps { first: u32, last: u32, centre: f32, stretch: f32 }
#ifdef BICUBIC
const REACH = 2.0;
#else
const REACH = 1.0;
#endif
fn taps(i: u32, n: u32) -> Taps {
    let scale = f32(n) / f32(p.size);
    let stretch = max(scale, 1.0);
    let support = REACH * stretch;
    let centre = (f32(i) + 0.5) * scale;
    let first = min(u32(max(centre - support + 0.5, 0.0)), n - 1u);
    let last = clamp(u32(centre + support + 0.5), first + 1u, n);
    return Taps(first, last, centre, stretch);
}
fn weight(t: Taps, j: u32) -> f32 {
    let d = abs((f32(j) - t.centre + 0.5) / t.stretch);
#ifdef BICUBIC
    let near = (1.5 * d - 2.5) * d * d + 1.0;
    let far = ((2.5 - 0.5 * d) * d - 4.0) * d + 2.0;
    return select(select(0.0, far, d < 2.0), near, d < 1.0);
#else
    return max(1.0 - d, 0.0);
#endif
}

fn turn_hue(v: vec3<f32>, shift: f32) -> vec3<f32> {
    let top = max(v.x, max(v.y, v.z));
    let range = top - min(v.x, min(v.y, v.z));
    if range == 0.0 { return v; }
    let q = (vec3<f32>(top) - v) / range;
    var h = 4.0 + q.y - q.x;
    if top == v.x { h = q.z - q.y; } else if top == v.y { h = 2.0 + q.x - q.z; }
    h = fract(h / 6.0 + 1.0 + shift) * 6.0;
    let s = range / top;
    let f = fract(h);
    let a = top * (1.0 - s);
    let b = top * (1.0 - s * f);
    let c = top * (1.0 - s * (1.0 - f));
    var out = vec3<f32>(top, a, b);
    switch u32(h) % 6u {
        case 0u: { out = vec3<f32>(top, c, a); }
        case 1u: { out = vec3<f32>(b, top, a); }
        case 2u: { out = vec3<f32>(a, top, c); }
        case 3u: { out = vec3<f32>(a, b, top); }
        case 4u: { out = vec3<f32>(c, a, top); }
        default: {}
    }
    return saturate(out);
}

// Adjustments from..to of the row at `t`.
fn adjust(v0: vec3<f32>, t: u32, begin: u32, end: u32, mean: f32) -> vec3<f32> {
    var v = v0;
    var code = u32(table[t + 5u]);
    for (var i = 0u; i < end; i = i + 1u) {
        let step = code % 5u;
        code = code / 5u;
        if i < begin || step == 4u { continue; }
        let f = table[t + 6u + step];
        if step == 3u {
            v = turn_hue(v, f);
        } else {
            var o = vec3<f32>(0.0);
            if step == 1u { o = vec3<f32>(mean); }
            if step == 2u { o = vec3<f32>(dot(LUMA, v)); }
            v = saturate(f * v + (1.0 - f) * o);
        }
    }
    return v;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let r = group_index(wid, nwg);
    if r >= p.rows { return; }
    let l = lid.x;
    let t = r * 16u;
    let base = ((p.first + r) % p.images) * p.words * 4u;
    let top = u32(table[t]);
    let left = u32(table[t + 1u]);
    let height = u32(table[t + 2u]);
    let width = u32(table[t + 3u]);
    let stored = u32(table[t + 14u]);
    let pixels = p.size * p.size;
    // Position of the contrast adjustment, 4 if there is none.
    var contrast = 0u;
    var code = u32(table[t + 5u]);
    loop {
        if contrast == 4u || code % 5u == 1u { break; }
        code = code / 5u;
        contrast = contrast + 1u;
    }
    let pieces = p.size * ((p.size + BAND - 1u) / BAND);
    for (var piece = l; piece < pieces; piece = piece + 64u) {
        let column = piece % p.size;
        let begin = piece / p.size * BAND;
        let tx = taps(select(column, p.size - 1u - column, table[t + 4u] != 0.0), width);
        var wx = 0.0;
        for (var k = tx.first; k < tx.last; k = k + 1u) { wx = wx + weight(tx, k); }
        var ty = array<Taps, BAND>();
        var wy = array<f32, BAND>();
        var acc = array<vec3<f32>, BAND>();
        for (var b = 0u; b < BAND; b = b + 1u) { ty[b] = taps(min(begin + b, p.size - 1u), height); }
        for (var i = ty[0].first; i < ty[BAND - 1u].last; i = i + 1u) {
            var line = vec3<f32>(0.0);
            let start = base + ((top + i) * stored + left) * 3u;
            for (var k = tx.first; k < tx.last; k = k + 1u) { line = line + weight(tx, k) * pixel(start + k * 3u); }
#ifdef BICUBIC
            line = clamp(line, vec3<f32>(0.0), vec3<f32>(wx));
#endif
            for (var b = 0u; b < BAND; b = b + 1u) {
                if i < ty[b].first || i >= ty[b].last { continue; }
                let w = weight(ty[b], i);
                acc[b] = acc[b] + w * line;
                wy[b] = wy[b] + w;
            }
        }
        for (var b = 0u; b < BAND; b = b + 1u) {
            if begin + b >= p.size { break; }
            var v = acc[b] / (wy[b] * wx);
#ifdef BICUBIC
            v = saturate(v);
#endif
            let o = (r * pixels + (begin + b) * p.size + column) * 3u;
            y[o] = v.x;
            y[o + 1u] = v.y;
            y[o + 2u] = v.z;
        }
    }
    storageBarrier();
    var sum = 0.0;
    if contrast < 4u {
        for (var at = l; at < pixels; at = at + 64u) {
            let o = (r * pixels + at) * 3u;
            let v = adjust(vec3<f32>(y[o], y[o + 1u], y[o + 2u]), t, 0u, contrast, 0.0);
            sum = sum + dot(LUMA, v);
            y[o] = v.x;
            y[o + 1u] = v.y;
            y[o + 2u] = v.z;
        }
    }
    lane[l] = sum;
    workgroupBarrier();
    for (var h = 32u; h > 0u; h = h / 2u) {
        if l < h { lane[l] = lane[l] + lane[l + h]; }
        workgroupBarrier();
    }
    let mean = lane[0] / f32(pixels);
    for (var at = l; at < pixels; at = at + 64u) {
        let o = (r * pixels + at) * 3u;
        var v = vec3<f32>(y[o], y[o + 1u], y[o + 2u]);
        v = adjust(v, t, select(0u, contrast, contrast < 4u), 4u, mean);
        if table[t + 10u] != 0.0 { v = vec3<f32>(dot(LUMA, v)); }
        if p.finish == 1u { v = finish(v, table[t + 13u]); }
        y[o] = v.x;
        y[o + 1u] = v.y;
        y[o + 2u] = v.z;
    }
}
#else
// Position i of a line of n pixels continued by reflection without repeating the border.
fn reflect_at(i: i32, n: i32) -> i32 {
    if n == 1 { return 0; }
    let period = 2 * (n - 1);
    let k = ((i % period) + period) % period;
    return min(k, period - k);
}

@compute @workgroup_size(64)
fn blur(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let at = group_index(wid, nwg) * 64u + lid.x;
    let pixels = p.size * p.size;
    if at >= p.rows * pixels { return; }
    let t = (at / pixels) * 16u;
    let radius = i32(table[t + 11u]);
    var v = vec3<f32>(x[at * 3u], x[at * 3u + 1u], x[at * 3u + 2u]);
    if radius > 0 {
#ifdef AXIS_X
        let stride = 1u;
        let position = at % p.size;
#else
        let stride = p.size;
        let position = (at / p.size) % p.size;
#endif
        let line = at - position * stride;
        v = vec3<f32>(0.0);
        var total = 0.0;
        for (var i = -radius; i <= radius; i = i + 1) {
            let d = f32(i) / table[t + 12u];
            let w = exp(-0.5 * d * d);
            let o = (line + u32(reflect_at(i32(position) + i, i32(p.size))) * stride) * 3u;
            v = v + w * vec3<f32>(x[o], x[o + 1u], x[o + 2u]);
            total = total + w;
        }
        v = v / total;
    }
#ifndef AXIS_X
    v = finish(v, table[t + 13u]);
#endif
    y[at * 3u] = v.x;
    y[at * 3u + 1u] = v.y;
    y[at * 3u + 2u] = v.z;
}
#endif
