// Convolution, NHWC and KRSC: y[n,p,q,k] = sum_{r,s,c} x[n, p*stride-pad+r, q*stride-pad+s, c] w[k,r,s,c].
// Implicit GEMM: rows = the n*p*q output pixels, columns = k, sums over r,s,c. A thread computes 4 pixels x 4
// channels in registers;
// VEC4 (c a multiple of 4) reads x and w as vec4 along c. Pixels and channels beyond the edge are computed on clamped
// addresses and not stored.
// Grid: ceil(ceil(n*p*q/4) * ceil(k/4) / 64) groups, folded; p.total = number of threads with work.
// TILED, for GPUs: tiles through workgroup memory (lib/tile.wgsl), a group a tile of pixels by channels, with HALF x,
// w and y in f16 (sums in f32); VEC_K: k is a multiple of 4, so that y is stored as vec4.
// Grid: ceil(n*p*q / TILE_M) * ceil(k / TILE_N) groups, folded; p.total = number of groups.
#import grid
#import storage
struct Params {
    n: u32, h: u32, w: u32, c: u32,
    p: u32, q: u32, k: u32, r: u32,
    s: u32, stride: u32, pad: u32, total: u32,
    first: u32, rows: u32, splits: u32, z: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
#ifdef VEC4
alias E = S4;
const STEP = 4u;
#else
alias E = S;
const STEP = 1u;
#endif
@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read> wt: array<E>;
#ifdef VEC_K
@group(0) @binding(2) var<storage, read_write> y: array<S4>;
#else
@group(0) @binding(2) var<storage, read_write> y: array<S>;
#endif

#ifdef SHARED_K
#import sums8x16
// `shared_k`, for drivers that run on CPUs: a thread computes 8 pixels x 16 channels (WIDE: 32), whose weights a
// group's threads share (lib/lanes.wgsl).
// Grid: ceil(n*p*q / 512) * ceil(k / 16) groups (WIDE: k / 32), folded; p.total = number of groups.
// 4 pixels, 64 apart: their images, and row and column under the first tap.
struct Quad { image: vec4<u32>, top: vec4<i32>, left: vec4<i32> }
fn quad(m0: u32) -> Quad {
    var out: Quad;
    for (var i = 0u; i < 4u; i = i + 1u) {
        let m = min(m0 + i * 64u, p.n * p.p * p.q - 1u);
        out.image[i] = m / (p.p * p.q);
        let pq = m % (p.p * p.q);
        out.top[i] = i32((pq / p.q) * p.stride) - i32(p.pad);
        out.left[i] = i32((pq % p.q) * p.stride) - i32(p.pad);
    }
    return out;
}
// Where x begins under a tap, and 0 where that is outside the image, else 1.
struct Under { at: vec4<u32>, mask: vec4<f32> }
fn under(q: Quad, r: u32, s: u32) -> Under {
    let ih = q.top + vec4<i32>(i32(r));
    let iw = q.left + vec4<i32>(i32(s));
    let ok = (ih >= vec4<i32>(0)) & (ih < vec4<i32>(i32(p.h)))
                & (iw >= vec4<i32>(0)) & (iw < vec4<i32>(i32(p.w)));
    let at = select(vec4<u32>(0u), ((q.image * p.h + vec4<u32>(ih)) * p.w + vec4<u32>(iw)) * p.c, ok);
    return Under(at, select(vec4<f32>(0.0), vec4<f32>(1.0), ok));
}
// x from channel c on; zero beyond the last.
fn load_x(at: u32, mask: f32, c: u32) -> vec4<f32> {
#ifdef VEC4
    return x[(at + c) / 4u] * mask;
#else
    let last = p.c - 1u;
    let v = vec4<f32>(x[at + min(c, last)], x[at + min(c + 1u, last)], x[at + min(c + 2u, last)],
        x[at + min(c + 3u, last)]);
    return select(vec4<f32>(0.0), v * mask, vec4<u32>(c, c + 1u, c + 2u, c + 3u) < vec4<u32>(p.c));
#endif
}
// Columns: channels c to c + 3 of four pixels.
fn load_four(u: Under, c: u32) -> mat4x4<f32> {
    return transpose(mat4x4<f32>(load_x(u.at.x, u.mask.x, c), load_x(u.at.y, u.mask.y, c),
        load_x(u.at.z, u.mask.z, c), load_x(u.at.w, u.mask.w, c)));
}
// Filter k + which, from channel c of the tap on; behind the last channel whatever lies there, since x is zero.
fn piece(tap: u32, c: u32, k: u32, which: u32) -> Piece {
    let at = min(k + which, p.k - 1u) * p.r * p.s * p.c + tap + c;
#ifdef VEC4
    return wt[at / 4u];
#else
    let last = p.k * p.r * p.s * p.c - 1u;
    return Piece(wt[at], wt[min(at + 1u, last)], wt[min(at + 2u, last)], wt[min(at + 3u, last)]);
#endif
}
fn put(m: u32, k0: u32, sum: mat4x4<f32>) {
    if m >= p.n * p.p * p.q { return; }
    var row = sum;
    for (var j = 0u; j < min(16u, p.k - min(k0, p.k)); j = j + 1u) { y[m * p.k + k0 + j] = row[j / 4u][j % 4u]; }
}
fn put_all(m: u32, k0: u32, sums: Sums8) {
    put(m, k0, top_row(sums, 0u));
    put(m + 64u, k0, top_row(sums, 1u));
    put(m + 128u, k0, top_row(sums, 2u));
    put(m + 192u, k0, top_row(sums, 3u));
    put(m + 256u, k0, bottom_row(sums, 0u));
    put(m + 320u, k0, bottom_row(sums, 1u));
    put(m + 384u, k0, bottom_row(sums, 2u));
    put(m + 448u, k0, bottom_row(sums, 3u));
}
#ifdef WIDE
const FILTERS = 32u;
#else
const FILTERS = 16u;
#endif

@compute @workgroup_size(64)
fn shared_k(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let g = group_index(wid, nwg);
    if g >= p.total { return; }
    let kgroups = (p.k + FILTERS - 1u) / FILTERS;
    let k0 = (g % kgroups) * FILTERS;
    let m0 = (g / kgroups) * 512u + lid.x;
    let near = quad(m0);
    let far = quad(m0 + 256u);
    var sums: Sums8;
#ifdef WIDE
    var more: Sums8;
#endif
    for (var r = 0u; r < p.r; r = r + 1u) {
        for (var s = 0u; s < p.s; s = s + 1u) {
            let u = under(near, r, s);
            let v = under(far, r, s);
            let tap = (r * p.s + s) * p.c;
            for (var c = 0u; c < p.c; c = c + 4u) {
                let first = sixteen(lane, tap, c, k0);
#ifdef WIDE
                let second = sixteen(lane, tap, c, k0 + 16u);
#endif
                let a = load_four(u, c);
                let b = load_four(v, c);
                add_by_columns(&sums, a, b, first);
#ifdef WIDE
                add_by_columns(&more, a, b, second);
#endif
            }
        }
    }
    put_all(m0, k0, sums);
#ifdef WIDE
    put_all(m0, k0 + 16u, more);
#endif
}
#else
#ifdef TILED
#import tile
#import place

// 4 pixels, `step` apart: row and column of the image under their first tap, and the element of x there (which may
// lie outside the image).
struct Pixels { top: vec4<i32>, left: vec4<i32>, at: vec4<i32> }
fn pixels_from(m0: u32, step: u32) -> Pixels {
    var out: Pixels;
    for (var i = 0u; i < 4u; i = i + 1u) {
        let m = place(min(m0 + i * step, p.n * p.p * p.q - 1u), p.q, p.p);
        let top = i32(m.middle * p.stride) - i32(p.pad);
        let left = i32(m.inner * p.stride) - i32(p.pad);
        out.top[i] = top;
        out.left[i] = left;
        out.at[i] = ((i32(m.outer * p.h) + top) * i32(p.w) + left) * i32(p.c);
    }
    return out;
}

// Where x lies under the 4 pixels at a tap (of c within s within r), in elements or VEC4 in fours, and where there is
// any: not outside the image, nor behind the last tap.
// Negative rows and columns are large ones without a sign.
struct Under { at: vec4<u32>, ok: vec4<bool> }
fn under(m: Pixels, t: Place) -> Under {
    let ih = m.top + vec4<i32>(i32(t.outer));
    let iw = m.left + vec4<i32>(i32(t.middle));
    let ok = (vec4<u32>(ih) < vec4<u32>(p.h)) & (vec4<u32>(iw) < vec4<u32>(p.w)) & vec4<bool>(t.outer < p.r);
    let at = m.at + vec4<i32>(i32((t.outer * p.w + t.middle) * p.c + t.inner));
    return Under(select(vec4<u32>(0u), vec4<u32>(at) / STEP, ok), ok);
}

struct Tile { m0: u32, n0: u32 }

// A thread's pixels, the tap of its next pieces, and where x lies under them.
struct WalkA { pixels: Pixels, tap: Place, x: Under }
fn start_a(l: u32, tile: Tile) -> WalkA {
    let spot = spot_a(l);
    let pixels = pixels_from(tile.m0 + spot.across, STEP_A);
    let tap = place(spot.along, p.c, p.s);
    return WalkA(pixels, tap, under(pixels, tap));
}
// What lies under a pixel at one tap lies side by side (and at its place 0 there is as much): only at a new tap is
// the place computed anew.
fn next_a(walk: WalkA, tile: Tile) -> WalkA {
#ifdef VEC4
    if walk.tap.inner + TILE_K < p.c {
        let tap = Place(walk.tap.inner + TILE_K, walk.tap.middle, walk.tap.outer);
        return WalkA(walk.pixels, tap, Under(walk.x.at + TILE_K / 4u, walk.x.ok));
    }
#endif
    let tap = advance(walk.tap, TILE_K, p.c, p.s);
    return WalkA(walk.pixels, tap, under(walk.pixels, tap));
}
// A column a pixel: x under it at the tap and the next three; zero where there is none.
fn fetch_a(walk: WalkA, tile: Tile) -> Pieces {
#ifdef VEC4
    let at = walk.x.at;
    let ok = walk.x.ok;
    return Pieces(
        select(Piece(), Piece(x[at.x]), ok.x), select(Piece(), Piece(x[at.y]), ok.y),
            select(Piece(), Piece(x[at.z]), ok.z), select(Piece(), Piece(x[at.w]), ok.w),
    );
#else
    var block: Pieces;
    var tap = walk.tap;
    for (var e = 0u; e < 4u; e = e + 1u) {
        let u = under(walk.pixels, tap);
        block[e] = select(Piece(), Piece(S4(x[u.at.x], x[u.at.y], x[u.at.z], x[u.at.w])), u.ok);
        tap = advance(tap, 1u, p.c, p.s);
    }
    return transpose(block);
#endif
}

// Four weights of filter k, from `at` on; behind the last tap any value will do, since x is zero there.
fn piece_w(k: u32, at: u32) -> Piece {
    let row = p.r * p.s * p.c;
    let start = min(k, p.k - 1u) * row;
#ifdef VEC4
    return Piece(wt[(start + min(at, row - 4u)) / 4u]);
#else
    let last = row - 1u;
    return Piece(S4(wt[start + min(at, last)], wt[start + min(at + 1u, last)], wt[start + min(at + 2u, last)],
        wt[start + min(at + 3u, last)]));
#endif
}
// The first of a thread's four filters, and the next of its weights.
struct WalkB { k: u32, at: u32 }
fn start_b(l: u32, tile: Tile) -> WalkB {
    let spot = spot_b(l);
    return WalkB(tile.n0 + spot.across, spot.along);
}
fn next_b(walk: WalkB, tile: Tile) -> WalkB { return WalkB(walk.k, walk.at + TILE_K); }
fn fetch_b(walk: WalkB, tile: Tile) -> Pieces {
    let k = walk.k;
    return Pieces(piece_w(k, walk.at), piece_w(k + STEP_B, walk.at), piece_w(k + 2u * STEP_B, walk.at),
        piece_w(k + 3u * STEP_B, walk.at));
}

fn store(part: u32, m0: u32, k0: u32, sum: mat4x4<f32>) {
    if k0 >= p.k { return; }
    var rows = sum;
    for (var i = 0u; i < 4u; i = i + 1u) {
        if m0 + i >= p.n * p.p * p.q { break; }
        let at = (m0 + i) * p.k + k0;
#ifdef VEC_K
        y[at / 4u] = S4(rows[i]);
#else
        for (var j = 0u; j < min(4u, p.k - k0); j = j + 1u) { y[at + j] = S(rows[i][j]); }
#endif
    }
}

@compute @workgroup_size(256)
fn tiled(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, thread: Thread) {
    let l = enter(thread);
    let g = group_index(wid, nwg);
    if g >= p.total { return; }
    let tiles_n = (p.k + TILE_N - 1u) / TILE_N;
    let m0 = (g / tiles_n) * TILE_M;
    let n0 = (g % tiles_n) * TILE_N;
    var sums: Sums;
    tile_product(&sums, l, (p.r * p.s * p.c + TILE_K - 1u) / TILE_K, Tile(m0, n0));
    tile_store(&sums, l, 0u, m0, n0);
}
#else
fn mac(a: E, b: E) -> f32 {
#ifdef VEC4
    return dot(a, b);
#else
    return a * b;
#endif
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let kgroups = (p.k + 3u) / 4u;
    let k0 = (t % kgroups) * 4u;
    let m0 = (t / kgroups) * 4u;
    let pixels = p.n * p.p * p.q;
    var image: vec4<u32>;
    var top: vec4<i32>;
    var left: vec4<i32>;
    for (var i = 0u; i < 4u; i = i + 1u) {
        let m = min(m0 + i, pixels - 1u);
        image[i] = m / (p.p * p.q);
        let pq = m % (p.p * p.q);
        top[i] = i32((pq / p.q) * p.stride) - i32(p.pad);
        left[i] = i32((pq % p.q) * p.stride) - i32(p.pad);
    }
    let row = p.r * p.s * p.c / STEP;
    let w0 = min(k0, p.k - 1u) * row;
    let w1 = min(k0 + 1u, p.k - 1u) * row;
    let w2 = min(k0 + 2u, p.k - 1u) * row;
    let w3 = min(k0 + 3u, p.k - 1u) * row;
    let cs = p.c / STEP;
    var acc0 = vec4<f32>(0.0);
    var acc1 = vec4<f32>(0.0);
    var acc2 = vec4<f32>(0.0);
    var acc3 = vec4<f32>(0.0);
    for (var r = 0u; r < p.r; r = r + 1u) {
        for (var s = 0u; s < p.s; s = s + 1u) {
            let ih = top + vec4<i32>(i32(r));
            let iw = left + vec4<i32>(i32(s));
            let ok = (ih >= vec4<i32>(0)) & (ih < vec4<i32>(i32(p.h)))
                & (iw >= vec4<i32>(0)) & (iw < vec4<i32>(i32(p.w)));
            let base = select(vec4<u32>(0u), ((image * p.h + vec4<u32>(ih)) * p.w + vec4<u32>(iw)) * cs, ok);
            let mask = select(vec4<f32>(0.0), vec4<f32>(1.0), ok);
            let tap = (r * p.s + s) * cs;
            for (var c = 0u; c < cs; c = c + 1u) {
                let x0 = x[base.x + c] * mask.x;
                let x1 = x[base.y + c] * mask.y;
                let x2 = x[base.z + c] * mask.z;
                let x3 = x[base.w + c] * mask.w;
                let b0 = wt[w0 + tap + c];
                let b1 = wt[w1 + tap + c];
                let b2 = wt[w2 + tap + c];
                let b3 = wt[w3 + tap + c];
                acc0 = acc0 + vec4<f32>(mac(x0, b0), mac(x0, b1), mac(x0, b2), mac(x0, b3));
                acc1 = acc1 + vec4<f32>(mac(x1, b0), mac(x1, b1), mac(x1, b2), mac(x1, b3));
                acc2 = acc2 + vec4<f32>(mac(x2, b0), mac(x2, b1), mac(x2, b2), mac(x2, b3));
                acc3 = acc3 + vec4<f32>(mac(x3, b0), mac(x3, b1), mac(x3, b2), mac(x3, b3));
            }
        }
    }
    var rows = array<vec4<f32>, 4>(acc0, acc1, acc2, acc3);
    for (var i = 0u; i < 4u; i = i + 1u) {
        for (var j = 0u; j < 4u; j = j + 1u) {
            if m0 + i < pixels && k0 + j < p.k { y[(m0 + i) * p.k + k0 + j] = rows[i][j]; }
        }
    }
}
#endif
#endif
