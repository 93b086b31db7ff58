// C[b,i,j] = act( alpha * sum_k A[b,i,k] B[b,k,j] + bias[b,j] )
// A [m,k] (TRANS_A: stored [k,m]), B [k,n] (TRANS_B: stored [n,k]), C [m,n], row-major; a batch stride of 0 broadcasts.
// SUM_BATCH: C[i,j] sums over the batch too. BIAS adds bias; RELU clamps.
// HALF: A and B lie in f16, with HALF_C so does C; sums and what is done to them are f32.
// TALL, for drivers that run on CPUs: a group is 64 threads of 8x16 outputs one below the other, a 512x16 tile; what
// the threads need of B alike they share (lib/lanes.wgsl). WIDE: 8x32 outputs, a 512x32 tile.
// 10 numbers a lane are read for 128 multiply-adds (WIDE: 6; 12 with subgroups of 4).
// TILED, for GPUs: tiles through workgroup memory (lib/tile.wgsl), a group a tile; FULL_K: k is a multiple of TILE_K;
// VEC_C: n is a multiple of 4, so that C is stored as vec4.
// Otherwise a thread computes 4x4 outputs in registers from global memory: 4 values of k a step. VEC_A / VEC_B: the
// contiguous dimension of that operand is a multiple of 4, so it is loaded as vec4. A group is 8x8 threads, a 32x32
// tile. Rows and columns beyond the edge are computed on clamped addresses and not stored.
// Grid: batch * ceil(m/32) * ceil(n/32) groups (TALL: ceil(m/512) * ceil(n/16), WIDE / 32; TILED: ceil(m/TILE_M) *
// ceil(n/TILE_N)), folded.
#import grid
#import storage
#ifdef RELU
#import clamp
#endif
#ifdef HALF_C
alias C1 = f16;
alias C4 = vec4<f16>;
#else
alias C1 = f32;
alias C4 = vec4<f32>;
#endif
struct Params {
    m: u32, n: u32, k: u32, batch: u32,
    stride_a: u32, stride_b: u32, stride_bias: u32, tiles_n: u32,
    tiles: u32, groups: u32, alpha: f32, r: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
#ifdef VEC_A
@group(0) @binding(0) var<storage, read> a: array<S4>;
#else
@group(0) @binding(0) var<storage, read> a: array<S>;
#endif
#ifdef VEC_B
@group(0) @binding(1) var<storage, read> b: array<S4>;
#else
@group(0) @binding(1) var<storage, read> b: array<S>;
#endif
#ifdef VEC_C
@group(0) @binding(2) var<storage, read_write> c: array<C4>;
#else
@group(0) @binding(2) var<storage, read_write> c: array<C1>;
#endif
#ifdef BIAS
@group(0) @binding(3) var<storage, read> bias: array<f32>;
#endif

// Four numbers of A side by side: row i, from k on (TRANS_A: rows from i on, at k). Zero beyond the last k; rows
// beyond the edge may be any.
fn piece_a(base: u32, i: u32, k: u32) -> Piece {
#ifdef TRANS_A
    let row = base + min(k, p.k - 1u) * p.m;
#ifdef VEC_A
    let v = Piece(a[(row + min(i, p.m - 4u)) / 4u]);
#else
    let last = p.m - 1u;
    let v = Piece(S4(a[row + min(i, last)], a[row + min(i + 1u, last)], a[row + min(i + 2u, last)],
        a[row + min(i + 3u, last)]));
#endif
    return select(Piece(), v, k < p.k);
#else
    let row = base + min(i, p.m - 1u) * p.k;
#ifdef VEC_A
#ifdef FULL_K
    return Piece(a[(row + k) / 4u]);
#else
    return select(Piece(), Piece(a[(row + min(k, p.k - 4u)) / 4u]), k < p.k);
#endif
#else
    let last = p.k - 1u;
    let v = Piece(S4(a[row + min(k, last)], a[row + min(k + 1u, last)], a[row + min(k + 2u, last)],
        a[row + min(k + 3u, last)]));
    return select(Piece(), v, vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(p.k));
#endif
#endif
}
// Four pieces, `step` apart in the other direction.
fn pieces_a(base: u32, i: u32, k: u32, step: u32) -> Pieces {
#ifdef TRANS_A
    return Pieces(piece_a(base, i, k), piece_a(base, i, k + step), piece_a(base, i, k + 2u * step),
        piece_a(base, i, k + 3u * step));
#else
    return Pieces(piece_a(base, i, k), piece_a(base, i + step, k), piece_a(base, i + 2u * step, k),
        piece_a(base, i + 3u * step, k));
#endif
}

// Four numbers of B side by side: at k, columns from j on (TRANS_B: column j, from k on). Values of k beyond the end
// may be anything finite in memory: A is zero there.
fn piece_b(base: u32, k: u32, j: u32) -> Piece {
#ifdef TRANS_B
    let row = base + min(j, p.n - 1u) * p.k;
#ifdef VEC_B
    return Piece(b[(row + min(k, p.k - 4u)) / 4u]);
#else
    let last = p.k - 1u;
    return Piece(S4(b[row + min(k, last)], b[row + min(k + 1u, last)], b[row + min(k + 2u, last)],
        b[row + min(k + 3u, last)]));
#endif
#else
    let row = base + min(k, p.k - 1u) * p.n;
#ifdef VEC_B
    return Piece(b[(row + min(j, p.n - 4u)) / 4u]);
#else
    let last = p.n - 1u;
    return Piece(S4(b[row + min(j, last)], b[row + min(j + 1u, last)], b[row + min(j + 2u, last)],
        b[row + min(j + 3u, last)]));
#endif
#endif
}
fn pieces_b(base: u32, k: u32, j: u32, step: u32) -> Pieces {
#ifdef TRANS_B
    return Pieces(piece_b(base, k, j), piece_b(base, k, j + step), piece_b(base, k, j + 2u * step),
        piece_b(base, k, j + 3u * step));
#else
    return Pieces(piece_b(base, k, j), piece_b(base, k + step, j), piece_b(base, k + 2u * step, j),
        piece_b(base, k + 3u * step, j));
#endif
}

#ifndef TILED
// Columns kk = 0..3: A[i0..i0+4, k0+kk].
fn load_a(base: u32, i0: u32, k0: u32) -> mat4x4<f32> {
#ifdef TRANS_A
    return pieces_a(base, i0, k0, 1u);
#else
    return transpose(pieces_a(base, i0, k0, 1u));
#endif
}
// Columns kk = 0..3: B[k0+kk, j0..j0+4].
fn load_b(base: u32, k0: u32, j0: u32) -> mat4x4<f32> {
#ifdef TRANS_B
    return transpose(pieces_b(base, k0, j0, 1u));
#else
    return pieces_b(base, k0, j0, 1u);
#endif
}
#endif

#ifdef TILED
#import tile

// Rows i0.. of C, columns j0..j0+4, from one block of a thread.
fn store(batch: u32, i0: u32, j0: u32, sum: mat4x4<f32>) {
    if j0 >= p.n { return; }
#ifdef SUM_BATCH
    let out = 0u;
#else
    let out = batch * p.m * p.n;
#endif
    var add = vec4<f32>(0.0);
#ifdef BIAS
    let last = p.n - 1u;
    let base = batch * p.stride_bias;
    add = vec4<f32>(bias[base + j0], bias[base + min(j0 + 1u, last)], bias[base + min(j0 + 2u, last)],
        bias[base + min(j0 + 3u, last)]);
#endif
    var rows = sum;
    for (var ii = 0u; ii < 4u; ii = ii + 1u) {
        if i0 + ii >= p.m { break; }
        var v = p.alpha * rows[ii] + add;
#ifdef RELU
        v = vec4<f32>(relu(v.x), relu(v.y), relu(v.z), relu(v.w));
#endif
        let at = out + (i0 + ii) * p.n + j0;
#ifdef VEC_C
        c[at / 4u] = C4(v);
#else
        for (var jj = 0u; jj < min(4u, p.n - j0); jj = jj + 1u) { c[at + jj] = C1(v[jj]); }
#endif
    }
}

// A thread's place in an operand: its matrix, a row of A or a column of B, and a value of k; `first` is where that
// begins in every matrix.
struct Walk { matrix: u32, line: u32, k: u32, first: u32 }
fn next(walk: Walk) -> Walk {
    let k = walk.k + TILE_K;
#ifdef SUM_BATCH
    // The next matrix follows the last value of k.
    if k - walk.first >= p.k { return Walk(walk.matrix + 1u, walk.line, walk.first, walk.first); }
#endif
    return Walk(walk.matrix, walk.line, k, walk.first);
}
// Where there is one matrix alone it is the tile's. Carried from turn to turn it made the product 6 % slower on
// lavapipe.
fn matrix_of(walk: Walk, tile: Tile) -> u32 {
#ifdef SUM_BATCH
    return walk.matrix;
#else
    return tile.batch;
#endif
}
alias WalkA = Walk;
alias WalkB = Walk;
struct Tile { batch: u32, i0: u32, j0: u32 }
fn start_a(l: u32, tile: Tile) -> WalkA {
    let spot = spot_a(l);
#ifdef TRANS_A
    return WalkA(tile.batch, tile.i0 + spot.along, spot.across, spot.across);
#else
    return WalkA(tile.batch, tile.i0 + spot.across, spot.along, spot.along);
#endif
}
fn fetch_a(walk: WalkA, tile: Tile) -> Pieces {
    return pieces_a(matrix_of(walk, tile) * p.stride_a, walk.line, walk.k, STEP_A);
}
fn next_a(walk: WalkA, tile: Tile) -> WalkA { return next(walk); }
fn start_b(l: u32, tile: Tile) -> WalkB {
    let spot = spot_b(l);
#ifdef TRANS_B
    return WalkB(tile.batch, tile.j0 + spot.across, spot.along, spot.along);
#else
    return WalkB(tile.batch, tile.j0 + spot.along, spot.across, spot.across);
#endif
}
fn fetch_b(walk: WalkB, tile: Tile) -> Pieces {
    return pieces_b(matrix_of(walk, tile) * p.stride_b, walk.k, walk.line, STEP_B);
}
fn next_b(walk: WalkB, tile: Tile) -> WalkB { return next(walk); }

@compute @workgroup_size(256)
fn tiled(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, thread: Thread) {
    let l = enter(thread);
    let g = group_index(wid, nwg);
    if g >= p.groups { return; }
    let batch = g / p.tiles;
    let i0 = ((g % p.tiles) / p.tiles_n) * TILE_M;
    let j0 = ((g % p.tiles) % p.tiles_n) * TILE_N;
    var turns = (p.k + TILE_K - 1u) / TILE_K;
#ifdef SUM_BATCH
    // From matrix 0 on: the groups stand for one batch.
    turns = turns * p.batch;
#endif
    var sums: Sums;
    tile_product(&sums, l, turns, Tile(batch, i0, j0));
    tile_store(&sums, l, batch, i0, j0);
}
#else
// One output of the edge-checked matrix.
fn put(batch: u32, i: u32, j: u32, sum: f32) {
    if i >= p.m || j >= p.n { return; }
#ifdef SUM_BATCH
    let out = 0u;
#else
    let out = batch * p.m * p.n;
#endif
    var v = p.alpha * sum;
#ifdef BIAS
    v = v + bias[batch * p.stride_bias + j];
#endif
#ifdef RELU
    v = relu(v);
#endif
    c[out + i * p.n + j] = C1(v);
}

#ifdef TALL
#import sums8x16
// B from k and column j on: four of each row's sixteen numbers (TRANS_B: a column each).
fn piece(base: u32, k: u32, j: u32, which: u32) -> Piece {
#ifdef TRANS_B
    return piece_b(base, k, j + which);
#else
    return piece_b(base, k + which / 4u, j + which % 4u * 4u);
#endif
}

fn put_row(batch: u32, i: u32, j0: u32, sums: mat4x4<f32>) {
    var row = sums;
    for (var j = 0u; j < 16u; j = j + 1u) { put(batch, i, j0 + j, row[j / 4u][j % 4u]); }
}
fn put_rows(batch: u32, i: u32, j0: u32, sums: Sums8) {
    put_row(batch, i, j0, top_row(sums, 0u));
    put_row(batch, i + 1u, j0, top_row(sums, 1u));
    put_row(batch, i + 2u, j0, top_row(sums, 2u));
    put_row(batch, i + 3u, j0, top_row(sums, 3u));
    put_row(batch, i + 4u, j0, bottom_row(sums, 0u));
    put_row(batch, i + 5u, j0, bottom_row(sums, 1u));
    put_row(batch, i + 6u, j0, bottom_row(sums, 2u));
    put_row(batch, i + 7u, j0, bottom_row(sums, 3u));
}
// Adds the products of four k and sixteen columns.
fn add_products(sums: ptr<function, Sums8>, top: mat4x4<f32>, bottom: mat4x4<f32>, w: Sixteen) {
#ifdef TRANS_B
    add_by_columns(sums, top, bottom, w);
#else
    add_by_rows(sums, top, bottom, w);
#endif
}
#ifdef WIDE
const COLUMNS = 32u;
#else
const COLUMNS = 16u;
#endif

@compute @workgroup_size(64)
fn tall(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let g = group_index(wid, nwg);
    if g >= p.groups { return; }
    let batch = g / p.tiles;
    let tile = g % p.tiles;
    let i0 = (tile / p.tiles_n) * 512u + lid.x * 8u;
    let j0 = (tile % p.tiles_n) * COLUMNS;
    var sums: Sums8;
#ifdef WIDE
    var right: Sums8;
#endif
#ifdef SUM_BATCH
    for (var s = 0u; s < p.batch; s = s + 1u) {
#else
    let s = batch;
    {
#endif
        for (var k0 = 0u; k0 < p.k; k0 = k0 + 4u) {
            let w = sixteen(lane, s * p.stride_b, k0, j0);
#ifdef WIDE
            let v = sixteen(lane, s * p.stride_b, k0, j0 + 16u);
#endif
            let top = load_a(s * p.stride_a, i0, k0);
            let bottom = load_a(s * p.stride_a, i0 + 4u, k0);
            add_products(&sums, top, bottom, w);
#ifdef WIDE
            add_products(&right, top, bottom, v);
#endif
        }
    }
    put_rows(batch, i0, j0, sums);
#ifdef WIDE
    put_rows(batch, i0, j0 + 16u, right);
#endif
}
#else
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let g = group_index(wid, nwg);
    if g >= p.groups { return; }
    let batch = g / p.tiles;
    let tile = g % p.tiles;
    let i0 = (tile / p.tiles_n) * 32u + (lid.x / 8u) * 4u;
    let j0 = (tile % p.tiles_n) * 32u + (lid.x % 8u) * 4u;
    if i0 >= p.m || j0 >= p.n { return; }
    var acc0 = vec4<f32>(0.0);
    var acc1 = vec4<f32>(0.0);
    var acc2 = vec4<f32>(0.0);
    var acc3 = vec4<f32>(0.0);
#ifdef SUM_BATCH
    for (var s = 0u; s < p.batch; s = s + 1u) {
#else
    let s = batch;
    {
#endif
        for (var k0 = 0u; k0 < p.k; k0 = k0 + 4u) {
            let x = load_a(s * p.stride_a, i0, k0);
            let w = load_b(s * p.stride_b, k0, j0);
            for (var kk = 0u; kk < 4u; kk = kk + 1u) {
                acc0 = fma(vec4<f32>(x[kk].x), w[kk], acc0);
                acc1 = fma(vec4<f32>(x[kk].y), w[kk], acc1);
                acc2 = fma(vec4<f32>(x[kk].z), w[kk], acc2);
                acc3 = fma(vec4<f32>(x[kk].w), w[kk], acc3);
            }
        }
    }
    for (var j = 0u; j < 4u; j = j + 1u) {
        put(batch, i0, j0 + j, acc0[j]);
        put(batch, i0 + 1u, j0 + j, acc1[j]);
        put(batch, i0 + 2u, j0 + j, acc2[j]);
        put(batch, i0 + 3u, j0 + j, acc3[j]);
    }
}
#endif
#endif
