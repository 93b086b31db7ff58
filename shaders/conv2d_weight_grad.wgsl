// Convolution, NHWC and KRSC: y[n,p,q,k] = sum_{r,s,c} x[n, p*stride-pad+r, q*stride-pad+s, c] w[k,r,s,c].
// Its gradient by w: dw[k,r,s,c] = sum_{n,p,q} dy[n,p,q,k] x[n, p*stride-pad+r, q*stride-pad+s, c].
// Split-K: the n*p*q pixels are cut into p.splits runs of p.rows; `partial` writes part[first+split][k,r,s,c],
// `total` adds the parts in order.
// A thread of `partial` computes 4 k x 4 c at one (r,s) of one split; VEC_K, VEC_C: that dimension is a multiple of 4
// and is read as vec4.
// `shared_k` (SHARED_K; c a multiple of 8), for drivers that run on CPUs: a thread computes 16 k (WIDE: 32) at one
// position (r,s,8c); what a group's threads need of dy alike they share (lib/lanes.wgsl).
// `tiled` (TILED), for GPUs: tiles through workgroup memory (lib/tile.wgsl), rows r*s*c, columns k, sums over the
// pixels of a split; HALF: x and dy lie in f16, the parts and dw in f32; VEC_PART: c is a multiple of 4;
// FOUR_IN_A_ROW: so are c, q and the pixels of a split.
// Grid: tiled splits * ceil(r*s*c / TILE_M) * ceil(k / TILE_N), p.total = number of groups; shared_k splits *
// ceil(k/16) (WIDE: k/32) * ceil(r*s*c/8 / 64), p.total = number of groups; partial ceil(splits*r*s*ceil(k/4)*ceil(c/4) / 64),
// total ceil(k*r*s*c / 64), folded.
#import grid
#import storage
struct Params {
    n: u32, h: u32, w: u32, c: u32,
    p: u32, q: u32, k: u32, r: u32,
    s: u32, stride: u32, pad: u32, total: u32,
    first: u32, rows: u32, splits: u32, z: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
#ifdef TOTAL
@group(0) @binding(0) var<storage, read> part: array<f32>;
@group(0) @binding(1) var<storage, read_write> dw: array<f32>;
@compute @workgroup_size(64)
fn total(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    var s = 0.0;
    for (var i = 0u; i < p.splits; i = i + 1u) { s = s + part[i * p.total + t]; }
    dw[t] = s;
}
#else
#ifdef VEC_C
@group(0) @binding(0) var<storage, read> x: array<S4>;
#else
@group(0) @binding(0) var<storage, read> x: array<S>;
#endif
#ifdef VEC_K
@group(0) @binding(1) var<storage, read> dy: array<S4>;
#else
@group(0) @binding(1) var<storage, read> dy: array<S>;
#endif
#ifdef VEC_PART
@group(0) @binding(2) var<storage, read_write> part: array<vec4<f32>>;
#else
@group(0) @binding(2) var<storage, read_write> part: array<f32>;
#endif

fn load_x(at: u32, c0: u32) -> Piece {
#ifdef VEC_C
    return Piece(x[(at + c0) / 4u]);
#else
    let l = p.c - 1u;
    return Piece(S4(x[at + min(c0, l)], x[at + min(c0 + 1u, l)], x[at + min(c0 + 2u, l)], x[at + min(c0 + 3u, l)]));
#endif
}
fn load_dy(at: u32, k0: u32) -> Piece {
#ifdef VEC_K
    return Piece(dy[(at + k0) / 4u]);
#else
    let l = p.k - 1u;
    return Piece(S4(dy[at + min(k0, l)], dy[at + min(k0 + 1u, l)], dy[at + min(k0 + 2u, l)], dy[at + min(k0 + 3u, l)]));
#endif
}

#ifdef SHARED_K
#import sums8x16
// Sixteen k of dy at four pixels from m on (behind the split's last, that one), four a piece; k beyond the end may be
// any of the row's, their results are not stored.
fn piece(m: u32, last: u32, k0: u32, which: u32) -> Piece {
    return load_dy(min(m + which / 4u, last) * p.k, min(k0 + which % 4u * 4u, p.k - min(p.k, 4u)));
}
// A pixel of dy: its number, image, row and column.
struct Walk { m: u32, n: u32, oh: u32, ow: u32 }
// Eight c of x under a tap at the pixel that the walk has come to, which goes to the next. Where x does not lie under the
// tap, or the split has ended, zeros: a branch that not all threads take would choose between two values of each of the
// 128 sums.
struct Eight { left: vec4<f32>, right: vec4<f32> }
fn next(walk: ptr<function, Walk>, end: u32, r: u32, s: u32, c0: u32) -> Eight {
    let w = *walk;
    let ih = i32(w.oh * p.stride + r) - i32(p.pad);
    let iw = i32(w.ow * p.stride + s) - i32(p.pad);
    let ok = w.m < end && ih >= 0 && ih < i32(p.h) && iw >= 0 && iw < i32(p.w);
    let at = select(0u, ((w.n * p.h + u32(ih)) * p.w + u32(iw)) * p.c, ok);
    let mask = select(0.0, 1.0, ok);
    let row_ends = w.ow + 1u == p.q;
    let image_ends = row_ends && w.oh + 1u == p.p;
    (*walk).m = w.m + 1u;
    (*walk).ow = select(w.ow + 1u, 0u, row_ends);
    (*walk).oh = select(w.oh + u32(row_ends), 0u, image_ends);
    (*walk).n = w.n + u32(image_ends);
    return Eight(load_x(at, c0) * mask, load_x(at, c0 + 4u) * mask);
}
#ifdef WIDE
const FILTERS = 32u;
#else
const FILTERS = 16u;
#endif
fn put(split: u32, k0: u32, at: u32, sum: mat4x4<f32>) {
    let size = p.r * p.s * p.c;
    var rows = sum;
    for (var i = 0u; i < 4u; i = i + 1u) {
        if k0 + i >= p.k { return; }
        for (var j = 0u; j < 4u; j = j + 1u) { part[((p.first + split) * p.k + k0 + i) * size + at + j] = rows[i][j]; }
    }
}

// Rows are c, columns k.
fn put_all(split: u32, k0: u32, at: u32, sums: Sums8) {
    put(split, k0, at, transpose(sums.c0.top));
    put(split, k0, at + 4u, transpose(sums.c0.bottom));
    put(split, k0 + 4u, at, transpose(sums.c1.top));
    put(split, k0 + 4u, at + 4u, transpose(sums.c1.bottom));
    put(split, k0 + 8u, at, transpose(sums.c2.top));
    put(split, k0 + 8u, at + 4u, transpose(sums.c2.bottom));
    put(split, k0 + 12u, at, transpose(sums.c3.top));
    put(split, k0 + 12u, at + 4u, transpose(sums.c3.bottom));
}

@compute @workgroup_size(64)
fn shared_k(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let g = group_index(wid, nwg);
    if g >= p.total { return; }
    let positions = p.r * p.s * p.c / 8u;
    let blocks = (positions + 63u) / 64u;
    let kgroups = (p.k + FILTERS - 1u) / FILTERS;
    let mine = (g % blocks) * 64u + lid.x;
    if !subgroupAny(mine < positions) { return; }
    // Threads behind the last position compute it too, for the lanes that need what they read.
    let position = min(mine, positions - 1u);
    let k0 = ((g / blocks) % kgroups) * FILTERS;
    let split = g / blocks / kgroups;
    let c0 = (position % (p.c / 8u)) * 8u;
    let rs = position / (p.c / 8u);
    let r = rs / p.s;
    let s = rs % p.s;
    let start = split * p.rows;
    let end = min(p.n * p.p * p.q, start + p.rows);
    var sums: Sums8;
#ifdef WIDE
    var more: Sums8;
#endif
    var walk = Walk(start, start / (p.p * p.q), (start / p.q) % p.p, start % p.q);
    for (var m = start; m < end; m = m + 4u) {
        let first = sixteen(lane, m, end - 1u, k0);
#ifdef WIDE
        let second = sixteen(lane, m, end - 1u, k0 + 16u);
#endif
        let x0 = next(&walk, end, r, s, c0);
        let x1 = next(&walk, end, r, s, c0);
        let x2 = next(&walk, end, r, s, c0);
        let x3 = next(&walk, end, r, s, c0);
        let left = mat4x4<f32>(x0.left, x1.left, x2.left, x3.left);
        let right = mat4x4<f32>(x0.right, x1.right, x2.right, x3.right);
        add_by_rows(&sums, left, right, first);
#ifdef WIDE
        add_by_rows(&more, left, right, second);
#endif
    }
    if mine >= positions { return; }
    let at = rs * p.c + c0;
    put_all(split, k0, at, sums);
#ifdef WIDE
    put_all(split, k0 + 16u, at, more);
#endif
}
#else
#ifdef TILED
#import tile
#import place

// A column a pixel, m and three STEP_B apart: dy, channels k0..k0+4; behind the split's end any pixel's will do,
// since x is zero there.
fn piece_dy(m: u32, end: u32, k0: u32) -> Piece {
#ifdef VEC_K
    return load_dy(min(m, end - 1u) * p.k, min(k0, p.k - 4u));
#else
    return load_dy(min(m, end - 1u) * p.k, k0);
#endif
}
fn pieces_dy(m: u32, end: u32, k0: u32) -> Pieces {
    return Pieces(piece_dy(m, end, k0), piece_dy(m + STEP_B, end, k0), piece_dy(m + 2u * STEP_B, end, k0),
        piece_dy(m + 3u * STEP_B, end, k0));
}

// Where four weights of r*s*c stand, relative to a pixel's first tap: rows, columns, and elements of x. VEC_C: side
// by side, so the first stands for all. Behind the last weight:
// in a row that no image has.
const OUTSIDE = 0x40000000u;
#ifdef VEC_C
struct Taps { r: u32, s: u32, c: u32 }
fn taps_from(n: u32) -> Taps {
    let w = place(n, p.c, p.s);
    return Taps(select(OUTSIDE, w.outer, w.outer < p.r), w.middle, w.inner);
}
#else
struct Taps { r: vec4<u32>, s: vec4<u32>, c: vec4<u32> }
fn taps_from(n: u32) -> Taps {
    var t: Taps;
    for (var j = 0u; j < 4u; j = j + 1u) {
        let w = place(n + j, p.c, p.s);
        t.r[j] = select(OUTSIDE, w.outer, w.outer < p.r);
        t.s[j] = w.middle;
        t.c[j] = w.inner;
    }
    return t;
}
#endif

// x under pixel m (at the place t of q within p within n) at four weights; zero outside the image and behind the
// split's end.
fn piece_x(m: u32, end: u32, t: Place, w: Taps) -> Piece {
    // Without a sign: what lies before the image is far behind it.
    let ih = t.middle * p.stride - p.pad + w.r;
    let iw = t.inner * p.stride - p.pad + w.s;
#ifdef VEC_C
    let ok = (m < end) & (ih < p.h) & (iw < p.w);
    let v = Piece(x[select(0u, (((t.outer * p.h + ih) * p.w + iw) * p.c + w.c) / 4u, ok)]);
    return select(Piece(), v, ok);
#else
    let ok = vec4<bool>(m < end) & (ih < vec4<u32>(p.h)) & (iw < vec4<u32>(p.w));
    let at = select(vec4<u32>(0u), ((vec4<u32>(t.outer * p.h) + ih) * p.w + iw) * p.c + w.c, ok);
    return select(Piece(), Piece(S4(x[at.x], x[at.y], x[at.z], x[at.w])), ok);
#endif
}
fn pieces_x(m: u32, end: u32, t: Place, w: Taps) -> Pieces {
#ifdef FOUR_IN_A_ROW
    // Rows of dy are whole fours of pixels, and so are the places of pieces: one row of x, four columns.
    let ih = t.middle * p.stride - p.pad + w.r;
    let iw = vec4<u32>(t.inner * p.stride - p.pad + w.s) + vec4<u32>(0u, p.stride, 2u * p.stride, 3u * p.stride);
    let ok = (vec4<u32>(m, m + 1u, m + 2u, m + 3u) < vec4<u32>(end)) & vec4<bool>(ih < p.h) & (iw < vec4<u32>(p.w));
    let row = (t.outer * p.h + ih) * p.w;
    let at = select(vec4<u32>(0u), ((vec4<u32>(row) + iw) * p.c + w.c) / 4u, ok);
    return Pieces(
        select(Piece(), Piece(x[at.x]), ok.x), select(Piece(), Piece(x[at.y]), ok.y),
            select(Piece(), Piece(x[at.z]), ok.z), select(Piece(), Piece(x[at.w]), ok.w),
    );
#else
    let second = advance(t, STEP_A, p.q, p.p);
    let third = advance(second, STEP_A, p.q, p.p);
    let fourth = advance(third, STEP_A, p.q, p.p);
    return Pieces(piece_x(m, end, t, w), piece_x(m + STEP_A, end, second, w), piece_x(m + 2u * STEP_A, end, third, w),
        piece_x(m + 3u * STEP_A, end, fourth, w));
#endif
}

// `start` and `end` of the split's pixels.
struct Tile { w0: u32, k0: u32, start: u32, end: u32 }

// A thread's weights, and the next pixel of its pieces: its number, and its place.
struct WalkA { taps: Taps, m: u32, at: Place }
fn start_a(l: u32, tile: Tile) -> WalkA {
    let spot = spot_a(l);
    let m = tile.start + spot.across;
    return WalkA(taps_from(tile.w0 + spot.along), m, place(m, p.q, p.p));
}
fn next_a(walk: WalkA, tile: Tile) -> WalkA {
    return WalkA(walk.taps, walk.m + TILE_K, advance(walk.at, TILE_K, p.q, p.p));
}
fn fetch_a(walk: WalkA, tile: Tile) -> Pieces { return pieces_x(walk.m, tile.end, walk.at, walk.taps); }

// The first of a thread's filters, and its next pixel.
struct WalkB { k: u32, m: u32 }
fn start_b(l: u32, tile: Tile) -> WalkB {
    let spot = spot_b(l);
    return WalkB(tile.k0 + spot.along, tile.start + spot.across);
}
fn next_b(walk: WalkB, tile: Tile) -> WalkB { return WalkB(walk.k, walk.m + TILE_K); }
fn fetch_b(walk: WalkB, tile: Tile) -> Pieces { return pieces_dy(walk.m, tile.end, walk.k); }

// Weights w0.., filters k0..k0+4; a row of the block is a weight, its column a filter, whose weights lie side by side.
fn store(split: u32, w0: u32, k0: u32, sum: mat4x4<f32>) {
    let size = p.r * p.s * p.c;
    if w0 >= size { return; }
    var filters = transpose(sum);
    for (var i = 0u; i < 4u; i = i + 1u) {
        if k0 + i >= p.k { break; }
        let at = ((p.first + split) * p.k + k0 + i) * size + w0;
#ifdef VEC_PART
        part[at / 4u] = filters[i];
#else
        for (var j = 0u; j < min(4u, size - w0); j = j + 1u) { part[at + j] = filters[i][j]; }
#endif
    }
}

@compute @workgroup_size(256)
fn tiled(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, thread: Thread) {
    let l = enter(thread);
    let g = group_index(wid, nwg);
    if g >= p.total { return; }
    let tiles_n = (p.k + TILE_N - 1u) / TILE_N;
    let tiles = ((p.r * p.s * p.c + TILE_M - 1u) / TILE_M) * tiles_n;
    let split = g / tiles;
    let w0 = ((g % tiles) / tiles_n) * TILE_M;
    let k0 = ((g % tiles) % tiles_n) * TILE_N;
    let start = split * p.rows;
    let end = min(p.n * p.p * p.q, start + p.rows);
    var sums: Sums;
    tile_product(&sums, l, (end - start + TILE_K - 1u) / TILE_K, Tile(w0, k0, start, end));
    tile_store(&sums, l, split, w0, k0);
}
#else
@compute @workgroup_size(64)
fn partial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let cgroups = (p.c + 3u) / 4u;
    let kgroups = (p.k + 3u) / 4u;
    let c0 = (t % cgroups) * 4u;
    let t1 = t / cgroups;
    let s = t1 % p.s;
    let t2 = t1 / p.s;
    let r = t2 % p.r;
    let t3 = t2 / p.r;
    let k0 = (t3 % kgroups) * 4u;
    let split = t3 / kgroups;
    let end = min(p.n * p.p * p.q, (split + 1u) * p.rows);
    var acc0 = vec4<f32>(0.0);
    var acc1 = vec4<f32>(0.0);
    var acc2 = vec4<f32>(0.0);
    var acc3 = vec4<f32>(0.0);
    // The pixel's position is advanced, not divided out, inside the loop.
    let start = split * p.rows;
    var n = start / (p.p * p.q);
    var oh = (start / p.q) % p.p;
    var ow = start % p.q;
    for (var m = start; m < end; m = m + 1u) {
        let ih = i32(oh * p.stride + r) - i32(p.pad);
        let iw = i32(ow * p.stride + s) - i32(p.pad);
        if ih >= 0 && ih < i32(p.h) && iw >= 0 && iw < i32(p.w) {
            let xv = load_x(((n * p.h + u32(ih)) * p.w + u32(iw)) * p.c, c0);
            let d = load_dy(m * p.k, k0);
            acc0 = fma(vec4<f32>(d.x), xv, acc0);
            acc1 = fma(vec4<f32>(d.y), xv, acc1);
            acc2 = fma(vec4<f32>(d.z), xv, acc2);
            acc3 = fma(vec4<f32>(d.w), xv, acc3);
        }
        ow = ow + 1u;
        if ow == p.q {
            ow = 0u;
            oh = oh + 1u;
            if oh == p.p {
                oh = 0u;
                n = n + 1u;
            }
        }
    }
    var rows = array<vec4<f32>, 4>(acc0, acc1, acc2, acc3);
    let size = p.k * p.r * p.s * p.c;
    for (var i = 0u; i < 4u; i = i + 1u) {
        for (var j = 0u; j < 4u; j = j + 1u) {
            if k0 + i < p.k && c0 + j < p.c {
                part[(p.first + split) * size + (((k0 + i) * p.r + r) * p.s + s) * p.c + c0 + j] = rows[i][j];
            }
        }
    }
}
#endif
#endif
#endif
