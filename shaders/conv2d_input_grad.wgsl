// Convolution, NHWC and KRSC: y[n,p,q,k] = sum_{r,s,c} x[n, p*stride-pad+r, q*stride-pad+s, c] w[k,r,s,c].
// Its gradient by x: dx[n,h,w,c] = sum_{r,s,k} dy[n,p,q,k] w[k,r,s,c] over p*stride = h+pad-r, q*stride = w+pad-s.
// A thread computes 4 pixels x 4 channels c (a group of threads shares pixels); VEC_W: c is a multiple of 4, so w is
// read as vec4 along c.
// Grid: ceil(ceil(n*h*w/4) * ceil(c/4) / 64) groups, folded.
// `shared_c` (SHARED_C; c and k multiples of 4), for drivers that run on CPUs: pixels are taken by phase, (h + pad)
// mod stride and (w + pad) mod stride, so that all of a group see the same taps; a thread computes 8 pixels x 16
// channels (WIDE: 32), whose weights a group's threads share (lib/lanes.wgsl).
// Grid: stride^2 * ceil(n * ceil(h/stride) * ceil(w/stride) / 512) * ceil(c/16) groups (WIDE: c/32), folded; p.total =
// number of groups, p.rows = those of a phase.
// TILED, for GPUs: the same phases as tiles through workgroup memory (lib/tile.wgsl), rows pixels of the phase,
// columns c, sums over the taps of the phase and k. It takes the weights as [c,r,s,k], where what is summed lies side
// by side as in dy: `turn` makes them, 16x16 of one tap a group. Grid of turn: r * s * ceil(k/16) * ceil(c/16)
// groups, p.total, folded.
// VEC_K: k is a multiple of 4 (VEC_W with it, of the turned weights); VEC_DX: c is; IN_ORDER: stride 1 and VEC_K;
// HALF: dy, w and dx lie in f16, sums are f32. Grid: stride^2 * p.rows groups, p.rows = ceil(n * ceil(h/stride) *
// ceil(w/stride) / TILE_M) * ceil(c / TILE_N), folded.
#import grid
#import storage
struct Params {
    n: u32, h: u32, w: u32, c: u32,
    p: u32, q: u32, k: u32, r: u32,
    s: u32, stride: u32, pad: u32, total: u32,
    first: u32, rows: u32, splits: u32, z: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
#ifdef TURN
@group(0) @binding(0) var<storage, read> w: array<S>;
@group(0) @binding(1) var<storage, read_write> turned: array<S>;
// A row more than needed, so that columns lie in different banks.
var<workgroup> square: array<S, 272>;

@compute @workgroup_size(256)
fn turn(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let g = group_index(wid, nwg);
    if g >= p.total { return; }
    let rs = p.r * p.s;
    let columns = (p.c + 15u) / 16u;
    let tap = g % rs;
    let c0 = ((g / rs) % columns) * 16u;
    let k0 = (g / rs / columns) * 16u;
    let slow = lid.x / 16u;
    let fast = lid.x % 16u;
    if k0 + slow < p.k && c0 + fast < p.c { square[slow * 17u + fast] = w[((k0 + slow) * rs + tap) * p.c + c0 + fast]; }
    workgroupBarrier();
    if c0 + slow < p.c && k0 + fast < p.k {
        turned[((c0 + slow) * rs + tap) * p.k + k0 + fast] = square[fast * 17u + slow];
    }
}
#else
#ifdef VEC_K
@group(0) @binding(0) var<storage, read> dy: array<S4>;
const UNIT_K = 4u;
#else
@group(0) @binding(0) var<storage, read> dy: array<S>;
const UNIT_K = 1u;
#endif
#ifdef VEC_W
@group(0) @binding(1) var<storage, read> wt: array<S4>;
#else
@group(0) @binding(1) var<storage, read> wt: array<S>;
#endif
#ifdef VEC_DX
@group(0) @binding(2) var<storage, read_write> dx: array<S4>;
#else
@group(0) @binding(2) var<storage, read_write> dx: array<S>;
#endif

#ifndef TILED
// w[k, r, s, c0..c0+4]
fn weights(at: u32, c0: u32) -> Piece {
#ifdef VEC_W
    return Piece(wt[(at + min(c0, p.c - 4u)) / 4u]);
#else
    let last = p.c - 1u;
    return Piece(S4(wt[at + min(c0, last)], wt[at + min(c0 + 1u, last)], wt[at + min(c0 + 2u, last)],
        wt[at + min(c0 + 3u, last)]));
#endif
}

#endif

#ifdef SHARED_C
#import sums8x16
// Sixteen channels of four k (`row` apart) at one tap, four a piece.
fn piece(at: u32, row: u32, c0: u32, which: u32) -> Piece {
    return weights(at + which / 4u * row, c0 + which % 4u * 4u);
}
// 4 pixels of a phase, 64 apart: the element of dx where they lie, their images, h + pad and w + pad.
struct Quad { at: vec4<u32>, image: vec4<u32>, h: vec4<i32>, w: vec4<i32> }
fn quad(m0: u32, h0: u32, w0: u32, hs: u32, ws: u32) -> Quad {
    var out: Quad;
    for (var i = 0u; i < 4u; i = i + 1u) {
        let m = min(m0 + i * 64u, p.n * hs * ws - 1u);
        out.image[i] = m / (hs * ws);
        let h = h0 + ((m / ws) % hs) * p.stride;
        let w = w0 + (m % ws) * p.stride;
        out.at[i] = ((out.image[i] * p.h + h) * p.w + w) * p.c;
        out.h[i] = i32(h + p.pad);
        out.w[i] = i32(w + p.pad);
    }
    return out;
}
// Where dy begins (in fours of k) under a tap, and 0 where there is no output, else 1.
struct Under { at: vec4<u32>, mask: vec4<f32> }
fn under(q: Quad, r: u32, s: u32) -> Under {
    let a = q.h - vec4<i32>(i32(r));
    let b = q.w - vec4<i32>(i32(s));
    let oh = a / i32(p.stride);
    let ow = b / i32(p.stride);
    let ok = (a >= vec4<i32>(0)) & (b >= vec4<i32>(0)) & (oh < vec4<i32>(i32(p.p))) & (ow < vec4<i32>(i32(p.q)));
    let at = select(vec4<u32>(0u), ((q.image * p.p + vec4<u32>(oh)) * p.q + vec4<u32>(ow)) * (p.k / 4u), ok);
    return Under(at, select(vec4<f32>(0.0), vec4<f32>(1.0), ok));
}
fn put(m: u32, pixels: u32, at: u32, c0: u32, sum: mat4x4<f32>) {
    if m >= pixels { return; }
    var row = sum;
    for (var j = 0u; j < min(16u, p.c - min(c0, p.c)); j = j + 1u) { dx[at + c0 + j] = row[j / 4u][j % 4u]; }
}
fn put_all(m: u32, pixels: u32, near: vec4<u32>, far: vec4<u32>, c0: u32, sums: Sums8) {
    put(m, pixels, near.x, c0, top_row(sums, 0u));
    put(m + 64u, pixels, near.y, c0, top_row(sums, 1u));
    put(m + 128u, pixels, near.z, c0, top_row(sums, 2u));
    put(m + 192u, pixels, near.w, c0, top_row(sums, 3u));
    put(m + 256u, pixels, far.x, c0, bottom_row(sums, 0u));
    put(m + 320u, pixels, far.y, c0, bottom_row(sums, 1u));
    put(m + 384u, pixels, far.z, c0, bottom_row(sums, 2u));
    put(m + 448u, pixels, far.w, c0, bottom_row(sums, 3u));
}
#ifdef WIDE
const CHANNELS = 32u;
#else
const CHANNELS = 16u;
#endif

@compute @workgroup_size(64)
fn shared_c(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let g = group_index(wid, nwg);
    if g >= p.total { return; }
    let phase = g / p.rows;
    let cgroups = (p.c + CHANNELS - 1u) / CHANNELS;
    let c0 = ((g % p.rows) % cgroups) * CHANNELS;
    let m0 = ((g % p.rows) / cgroups) * 512u + lid.x;
    // First row and column of the phase, and how many it has.
    let h0 = phase / p.stride;
    let w0 = phase % p.stride;
    let hs = (p.h - min(h0, p.h) + p.stride - 1u) / p.stride;
    let ws = (p.w - min(w0, p.w) + p.stride - 1u) / p.stride;
    let pixels = p.n * hs * ws;
    if pixels == 0u { return; }
    let near = quad(m0, h0, w0, hs, ws);
    let far = quad(m0 + 256u, h0, w0, hs, ws);
    var sums: Sums8;
#ifdef WIDE
    var more: Sums8;
#endif
    for (var r = (h0 + p.pad) % p.stride; r < p.r; r = r + p.stride) {
        for (var s = (w0 + p.pad) % p.stride; s < p.s; s = s + p.stride) {
            let u = under(near, r, s);
            let v = under(far, r, s);
            for (var k = 0u; k < p.k / 4u; k = k + 1u) {
                let row = p.r * p.s * p.c;
                let at = (4u * k * p.r + r) * p.s * p.c + s * p.c;
                let first = sixteen(lane, at, row, c0);
#ifdef WIDE
                let second = sixteen(lane, at, row, c0 + 16u);
#endif
                // Columns: k, k + 1, k + 2, k + 3 of four pixels.
                let a = transpose(mat4x4<f32>(dy[u.at.x + k] * u.mask.x, dy[u.at.y + k] * u.mask.y,
                    dy[u.at.z + k] * u.mask.z, dy[u.at.w + k] * u.mask.w));
                let b = transpose(mat4x4<f32>(dy[v.at.x + k] * v.mask.x, dy[v.at.y + k] * v.mask.y,
                    dy[v.at.z + k] * v.mask.z, dy[v.at.w + k] * v.mask.w));
                add_by_rows(&sums, a, b, first);
#ifdef WIDE
                add_by_rows(&more, a, b, second);
#endif
            }
        }
    }
    put_all(m0, pixels, near.at, far.at, c0, sums);
#ifdef WIDE
    put_all(m0, pixels, near.at, far.at, c0 + 16u, more);
#endif
}
#else
#ifdef TILED
#import tile
#import place

// Pixels of a phase: rows and columns of the image are first + stride * (0..count); so are the taps that count there.
struct Phase { h0: u32, w0: u32, hs: u32, ws: u32, r0: u32, s0: u32, rs: u32, ss: u32 }
fn count(first: u32, size: u32) -> u32 { return (size - min(first, size) + p.stride - 1u) / p.stride; }
fn phase_of(index: u32) -> Phase {
    let h0 = index / p.stride;
    let w0 = index % p.stride;
    let r0 = (h0 + p.pad) % p.stride;
    let s0 = (w0 + p.pad) % p.stride;
    return Phase(h0, w0, count(h0, p.h), count(w0, p.w), r0, s0, count(r0, p.r), count(s0, p.s));
}

// 4 pixels of the phase, `step` apart: row and column of dy under their first tap (each further tap is one less), and
// the element of dy there.
struct Pixels { top: vec4<i32>, left: vec4<i32>, at: vec4<i32> }
fn pixels_from(m0: u32, step: u32, f: Phase) -> Pixels {
    var out: Pixels;
    for (var i = 0u; i < 4u; i = i + 1u) {
        let m = place(min(m0 + i * step, p.n * f.hs * f.ws - 1u), f.ws, f.hs);
        let top = i32((f.h0 + m.middle * p.stride + p.pad - f.r0) / p.stride);
        let left = i32((f.w0 + m.inner * p.stride + p.pad - f.s0) / p.stride);
        out.top[i] = top;
        out.left[i] = left;
        out.at[i] = ((i32(m.outer * p.p) + top) * i32(p.q) + left) * i32(p.k);
    }
    return out;
}

// Where dy lies under the 4 pixels at a tap (of k within the taps of a row within those of a column), in elements or
// VEC_K in fours, and where there is any. Negative rows and columns are large ones without a sign.
struct Under { at: vec4<u32>, ok: vec4<bool> }
fn under(m: Pixels, t: Place, f: Phase) -> Under {
    let oh = m.top - vec4<i32>(i32(t.outer));
    let ow = m.left - vec4<i32>(i32(t.middle));
    let ok = (vec4<u32>(oh) < vec4<u32>(p.p)) & (vec4<u32>(ow) < vec4<u32>(p.q)) & vec4<bool>(t.outer < f.rs);
    let at = m.at - vec4<i32>(i32((t.outer * p.q + t.middle) * p.k)) + vec4<i32>(i32(t.inner));
    return Under(select(vec4<u32>(0u), vec4<u32>(at) / UNIT_K, ok), ok);
}

// `ss`: taps of a row, 1 where there is none, which keeps the walk in bounds.
struct Tile { m0: u32, n0: u32, ss: u32, f: Phase }

// A thread's pixels, the tap of its next pieces, and where dy lies under them.
struct WalkA { pixels: Pixels, tap: Place, dy: Under }
fn start_a(l: u32, tile: Tile) -> WalkA {
    let spot = spot_a(l);
    let pixels = pixels_from(tile.m0 + spot.across, STEP_A, tile.f);
    let tap = place(spot.along, p.k, tile.ss);
    return WalkA(pixels, tap, under(pixels, tap, tile.f));
}
// What lies under a pixel at one tap lies side by side (and at its place 0 there is as much): only at a new tap is
// the place computed anew.
fn next_a(walk: WalkA, tile: Tile) -> WalkA {
#ifdef VEC_K
    if walk.tap.inner + TILE_K < p.k {
        let tap = Place(walk.tap.inner + TILE_K, walk.tap.middle, walk.tap.outer);
        return WalkA(walk.pixels, tap, Under(walk.dy.at + TILE_K / 4u, walk.dy.ok));
    }
#endif
    let tap = advance(walk.tap, TILE_K, p.k, tile.ss);
    return WalkA(walk.pixels, tap, under(walk.pixels, tap, tile.f));
}
// A column a pixel: dy under it at the tap and the next three; zero where there is none.
fn fetch_a(walk: WalkA, tile: Tile) -> Pieces {
#ifdef VEC_K
    let at = walk.dy.at;
    let ok = walk.dy.ok;
    return Pieces(
        select(Piece(), Piece(dy[at.x]), ok.x), select(Piece(), Piece(dy[at.y]), ok.y),
            select(Piece(), Piece(dy[at.z]), ok.z), select(Piece(), Piece(dy[at.w]), ok.w),
    );
#else
    var block: Pieces;
    var tap = walk.tap;
    for (var e = 0u; e < 4u; e = e + 1u) {
        let u = under(walk.pixels, tap, tile.f);
        block[e] = select(Piece(), Piece(S4(dy[u.at.x], dy[u.at.y], dy[u.at.z], dy[u.at.w])), u.ok);
        tap = advance(tap, 1u, p.k, tile.ss);
    }
    return transpose(block);
#endif
}

// Where the weights of channel 0 lie at a tap; behind the last tap any place will do, since dy is zero there.
fn of_tap(t: Place, f: Phase) -> u32 {
    let r = min(f.r0 + t.outer * p.stride, p.r - 1u);
    let s = min(f.s0 + t.middle * p.stride, p.s - 1u);
    return (r * p.s + s) * p.k + t.inner;
}
// Four numbers side by side of turned weights, channel c. IN_ORDER (stride 1, k a multiple of 4): the taps that count
// are all there are, in the order of the weights, so `at`, which counts what has been summed, is the place; else it
// is made from the tap t.
fn piece_w(c: u32, at: u32, t: Place, tile: Tile) -> Piece {
    let row = p.r * p.s * p.k;
    let start = min(c, p.c - 1u) * row;
#ifdef IN_ORDER
    return Piece(wt[(start + min(at, row - 4u)) / 4u]);
#else
#ifdef VEC_K
    return Piece(wt[(start + of_tap(t, tile.f)) / 4u]);
#else
    let second = advance(t, 1u, p.k, tile.ss);
    let third = advance(second, 1u, p.k, tile.ss);
    let fourth = advance(third, 1u, p.k, tile.ss);
    return Piece(S4(wt[start + of_tap(t, tile.f)], wt[start + of_tap(second, tile.f)],
        wt[start + of_tap(third, tile.f)], wt[start + of_tap(fourth, tile.f)]));
#endif
#endif
}
// The first of a thread's four channels, and the next of its weights: counted, and as a tap.
struct WalkB { c: u32, at: u32, tap: Place }
fn start_b(l: u32, tile: Tile) -> WalkB {
    let spot = spot_b(l);
    return WalkB(tile.n0 + spot.across, spot.along, place(spot.along, p.k, tile.ss));
}
fn next_b(walk: WalkB, tile: Tile) -> WalkB {
    return WalkB(walk.c, walk.at + TILE_K, advance(walk.tap, TILE_K, p.k, tile.ss));
}
fn fetch_b(walk: WalkB, tile: Tile) -> Pieces {
    let c = walk.c;
    let at = walk.at;
    let tap = walk.tap;
    return Pieces(piece_w(c, at, tap, tile), piece_w(c + STEP_B, at, tap, tile),
        piece_w(c + 2u * STEP_B, at, tap, tile), piece_w(c + 3u * STEP_B, at, tap, tile));
}

fn store(phase: u32, m0: u32, c0: u32, sum: mat4x4<f32>) {
    let f = phase_of(phase);
    if c0 >= p.c { return; }
    var rows = sum;
    for (var i = 0u; i < 4u; i = i + 1u) {
        if m0 + i >= p.n * f.hs * f.ws { break; }
        let m = place(m0 + i, f.ws, f.hs);
        let at = ((m.outer * p.h + f.h0 + m.middle * p.stride) * p.w + f.w0 + m.inner * p.stride) * p.c + c0;
#ifdef VEC_DX
        dx[at / 4u] = S4(rows[i]);
#else
        for (var j = 0u; j < min(4u, p.c - c0); j = j + 1u) { dx[at + j] = S(rows[i][j]); }
#endif
    }
}

@compute @workgroup_size(256)
fn tiled(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, thread: Thread) {
    let l = enter(thread);
    let g = group_index(wid, nwg);
    if g >= p.total { return; }
    let f = phase_of(g / p.rows);
    let tiles_n = (p.c + TILE_N - 1u) / TILE_N;
    let m0 = ((g % p.rows) / tiles_n) * TILE_M;
    let n0 = ((g % p.rows) % tiles_n) * TILE_N;
    if m0 >= p.n * f.hs * f.ws { return; }
    let turns = (f.rs * f.ss * p.k + TILE_K - 1u) / TILE_K;
    var sums: Sums;
    // Without a tap that counts (1x1, stride 2) all sums of the phase are zero.
    if turns > 0u { tile_product(&sums, l, turns, Tile(m0, n0, max(f.ss, 1u), f)); }
    tile_store(&sums, l, g / p.rows, m0, n0);
}
#else
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let cgroups = (p.c + 3u) / 4u;
    let c0 = (t % cgroups) * 4u;
    let m0 = (t / cgroups) * 4u;
    let pixels = p.n * p.h * p.w;
    var image: vec4<u32>;
    var ph: vec4<i32>;
    var pw: vec4<i32>;
    for (var i = 0u; i < 4u; i = i + 1u) {
        let m = min(m0 + i, pixels - 1u);
        image[i] = m / (p.h * p.w);
        let hw = m % (p.h * p.w);
        ph[i] = i32(hw / p.w + p.pad);
        pw[i] = i32(hw % p.w + p.pad);
    }
    let stride = vec4<i32>(i32(p.stride));
    var acc0 = vec4<f32>(0.0);
    var acc1 = vec4<f32>(0.0);
    var acc2 = vec4<f32>(0.0);
    var acc3 = vec4<f32>(0.0);
    for (var r = 0u; r < p.r; r = r + 1u) {
        for (var s = 0u; s < p.s; s = s + 1u) {
            let a = ph - vec4<i32>(i32(r));
            let b = pw - vec4<i32>(i32(s));
            let oh = a / stride;
            let ow = b / stride;
            let ok = (a >= vec4<i32>(0)) & (b >= vec4<i32>(0)) & (oh * stride == a) & (ow * stride == b)
                & (oh < vec4<i32>(i32(p.p))) & (ow < vec4<i32>(i32(p.q)));
            if !any(ok) { continue; }
            let base = select(vec4<u32>(0u), ((image * p.p + vec4<u32>(oh)) * p.q + vec4<u32>(ow)) * p.k, ok);
            let mask = select(vec4<f32>(0.0), vec4<f32>(1.0), ok);
            for (var k = 0u; k < p.k; k = k + 1u) {
                let wv = weights(((k * p.r + r) * p.s + s) * p.c, c0);
                acc0 = fma(vec4<f32>(dy[base.x + k] * mask.x), wv, acc0);
                acc1 = fma(vec4<f32>(dy[base.y + k] * mask.y), wv, acc1);
                acc2 = fma(vec4<f32>(dy[base.z + k] * mask.z), wv, acc2);
                acc3 = fma(vec4<f32>(dy[base.w + k] * mask.w), wv, acc3);
            }
        }
    }
    var rows = array<vec4<f32>, 4>(acc0, acc1, acc2, acc3);
    for (var i = 0u; i < 4u; i = i + 1u) {
        for (var j = 0u; j < 4u; j = j + 1u) {
            if m0 + i < pixels && c0 + j < p.c { dx[(m0 + i) * p.c + c0 + j] = rows[i][j]; }
        }
    }
}
#endif
#endif
#endif
