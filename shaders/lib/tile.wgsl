// One tile of a matrix product by 256 threads through workgroup memory, for GPUs: TILE_M rows by TILE_N columns,
// TILE_K values of k at a time. The next blocks of both operands are put there and multiplied (`tile_multiply`). A
// kernel either does that itself, or (TILED) has it done by `tile_product`, which fetches by the kernel's functions,
// and is handed the sums by `tile_store`, which calls the kernel's own `store(part, row, column, block)` for each 4x4
// block (its columns are rows of C).
// How an operand lies in storage decides who fetches what. A: k by k side by side, or row by row (A_BY_ROWS: the
// kernel defines it where neighbours in memory are neighbouring rows). B: k by k, or column by column (B_BY_COLUMNS).
// Thread l < THREADS_A fetches four pieces of A, four numbers side by side each: from spot_a(l).along on, at the
// places spot_a(l).across + i * STEP_A (i < 4) of the other direction. For B the same by thread block_b(l) <
// THREADS_B. TWICE_A: THREADS_A is 512, so a thread fetches for l + 256 as well; TWICE_B likewise.
// PREFETCH: the next blocks are fetched into registers while these are multiplied.
// TWO_BUFFERS: workgroup memory holds two blocks of each operand in turn, so that a barrier a block is enough: the
// next blocks are put where those lay that all threads are done with, while slower threads still multiply these.
struct Spot { along: u32, across: u32 }
#ifdef TWO_BUFFERS
const BUFFERS = 2u;
#else
const BUFFERS = 1u;
#endif
#ifdef COOP
#import tile_coop
#else
// COLS (define: 16 or 8) threads stand side by side, 256 / COLS below each other; each computes 4x4 values, twice as
// many rows with WIDE_M (define), twice as many columns with WIDE_N, the second block a half tile away.
// Both operands lie k by k, so that a thread reads 4 rows or columns as one vec4. They are written in blocks of 4x4:
// vec4 by vec4, since writing one component may touch its neighbours. Blocks of different k are rotated against each
// other (an exclusive or), so that the writes of neighbouring threads fall into different banks.
// At most (128 + 128) * 16 * 4 bytes = 16 KiB; the second buffer, as if it held the values of k behind the first's, is
// as large.
#import outer
const TILE_K = 16u;
const ROWS = 256u / COLS;
#ifdef WIDE_M
const TILE_M = ROWS * 8u;
#else
const TILE_M = ROWS * 4u;
#endif
#ifdef WIDE_N
const TILE_N = COLS * 8u;
#else
const TILE_N = COLS * 4u;
#endif
const STEP_A = 1u;
const STEP_B = 1u;
var<workgroup> tile_a: array<vec4<f32>, TILE_M * 4u * BUFFERS>;
var<workgroup> tile_b: array<vec4<f32>, TILE_N * 4u * BUFFERS>;

// Neighbouring threads fetch neighbouring blocks of 4x4 of rows that are `width` numbers wide.
fn spot_of(l: u32, width: u32) -> Spot { return Spot((l % (width / 4u)) * 4u, (l / (width / 4u)) * 4u); }
#ifdef A_BY_ROWS
fn spot_a(l: u32) -> Spot { return spot_of(l, TILE_M); }
#else
fn spot_a(l: u32) -> Spot { return spot_of(l, TILE_K); }
#endif
#ifdef B_BY_COLUMNS
fn spot_b(l: u32) -> Spot { return spot_of(l, TILE_N); }
#else
fn spot_b(l: u32) -> Spot { return spot_of(l, TILE_K); }
#endif

// Sums of a thread, a matrix a block: its columns are the rows of C.
struct Sums {
    a: mat4x4<f32>,
#ifdef WIDE_N
    right: mat4x4<f32>,
#endif
#ifdef WIDE_M
    below: mat4x4<f32>,
#ifdef WIDE_N
    across: mat4x4<f32>,
#endif
#endif
}

// Columns kk = 0..3 of the block: A[4 rows, 4*k4 + kk].
fn put_a(m4: u32, k4: u32, block: mat4x4<f32>) {
    let at = k4 * TILE_M + (m4 ^ ((k4 * 2u) % (TILE_M / 4u)));
    tile_a[at] = block[0];
    tile_a[at + TILE_M / 4u] = block[1];
    tile_a[at + TILE_M / 2u] = block[2];
    tile_a[at + 3u * (TILE_M / 4u)] = block[3];
}
// Columns kk = 0..3 of the block: B[4*k4 + kk, 4 columns].
fn put_b(n4: u32, k4: u32, block: mat4x4<f32>) {
    let at = k4 * TILE_N + (n4 ^ ((k4 * 2u) % (TILE_N / 4u)));
    tile_b[at] = block[0];
    tile_b[at + TILE_N / 4u] = block[1];
    tile_b[at + TILE_N / 2u] = block[2];
    tile_b[at + 3u * (TILE_N / 4u)] = block[3];
}

// One value of k; m and n are the thread's first places in that row of the tiles.
fn tile_step(sums: Sums, m: u32, n: u32) -> Sums {
    var s = sums;
    let a = tile_a[m];
    let b = tile_b[n];
    s.a = outer(s.a, a, b);
#ifdef WIDE_N
    let right = tile_b[n + COLS];
    s.right = outer(s.right, a, right);
#endif
#ifdef WIDE_M
    let below = tile_a[m + ROWS];
    s.below = outer(s.below, below, b);
#ifdef WIDE_N
    s.across = outer(s.across, below, right);
#endif
#endif
    return s;
}

// Adds the product of the tiles of a buffer to the sums of thread l.
fn multiply_buffer(sums: ptr<function, Sums>, l: u32, buffer: u32) {
    var s = *sums;
    let ty = l / COLS;
    let tx = l % COLS;
    for (var k4 = 0u; k4 < 4u; k4 = k4 + 1u) {
        let k = buffer * 4u + k4;
        let m = k * TILE_M + (ty ^ ((k * 2u) % (TILE_M / 4u)));
        let n = k * TILE_N + (tx ^ ((k * 2u) % (TILE_N / 4u)));
        s = tile_step(s, m, n);
        s = tile_step(s, m + TILE_M / 4u, n + TILE_N / 4u);
        s = tile_step(s, m + TILE_M / 2u, n + TILE_N / 2u);
        s = tile_step(s, m + 3u * (TILE_M / 4u), n + 3u * (TILE_N / 4u));
    }
    *sums = s;
}

#ifndef TILED
// Of the only buffer that a kernel fills by itself.
fn tile_multiply(sums: ptr<function, Sums>, l: u32) { multiply_buffer(sums, l, 0u); }
#else
// What a kernel's entry point is given of the thread, and the thread's number in the group.
struct Thread { @builtin(local_invocation_id) place: vec3<u32> }
fn enter(thread: Thread) -> u32 { return thread.place.x; }

fn keep_a(l: u32, pieces: Pieces, buffer: u32) {
    let spot = spot_a(l);
#ifdef A_BY_ROWS
    put_a(spot.along / 4u, buffer * 4u + spot.across / 4u, pieces);
#else
    put_a(spot.across / 4u, buffer * 4u + spot.along / 4u, transpose(pieces));
#endif
}
fn keep_b(l: u32, pieces: Pieces, buffer: u32) {
    let spot = spot_b(l);
#ifdef B_BY_COLUMNS
    put_b(spot.along / 4u, buffer * 4u + spot.across / 4u, pieces);
#else
    put_b(spot.across / 4u, buffer * 4u + spot.along / 4u, transpose(pieces));
#endif
}

fn tile_store(sums: ptr<function, Sums>, l: u32, part: u32, m0: u32, n0: u32) {
    let m = m0 + (l / COLS) * 4u;
    let n = n0 + (l % COLS) * 4u;
    store(part, m, n, (*sums).a);
#ifdef WIDE_N
    store(part, m, n + COLS * 4u, (*sums).right);
#endif
#ifdef WIDE_M
    store(part, m + ROWS * 4u, n, (*sums).below);
#ifdef WIDE_N
    store(part, m + ROWS * 4u, n + COLS * 4u, (*sums).across);
#endif
#endif
}
#endif
#endif
// 16 numbers a thread. Where both operands leave threads idle, A takes the first and B the last.
const THREADS_A = TILE_M * TILE_K / 16u;
const THREADS_B = TILE_N * TILE_K / 16u;
fn block_b(l: u32) -> u32 { return (l + THREADS_B) % 256u; }

#ifdef TILED
// The product of `turns` blocks (at least 1) of TILE_K values of k each, added to the sums of thread l. All threads
// of the group must call it, with the same `turns`.
// What is fetched is the kernel's: `Tile` is what the group's threads have in common, WalkA where a thread stands in
// operand A, WalkB in B. start_a(l, tile) is where the fetching thread l begins, fetch_a(walk, tile) are its four
// pieces there, and next_a(walk, tile) is TILE_K values of k further. For B the same.
fn tile_product(sums: ptr<function, Sums>, l: u32, turns: u32, tile: Tile) {
    let lb = block_b(l);
    var walk_a = start_a(l, tile);
    var walk_b = start_b(lb, tile);
    var of_a: Pieces;
#ifdef COOP
    var of_b: Pieces;
    let into_b = &of_b;
#else
    // No thread fetches for both operands: registers of its own would only keep others out.
    let into_b = &of_a;
#endif
#ifdef TWICE_A
    var walk_far_a = start_a(l + 256u, tile);
    var of_far_a: Pieces;
#endif
#ifdef TWICE_B
    var walk_far_b = start_b(lb + 256u, tile);
    var of_far_b: Pieces;
#endif
#ifdef TWO_BUFFERS
    var buffer = 0u;
#else
    let buffer = 0u;
#endif
#ifdef PREFETCH
    if l < THREADS_A { of_a = fetch_a(walk_a, tile); }
#ifdef TWICE_A
    of_far_a = fetch_a(walk_far_a, tile);
#endif
#ifdef TWICE_B
    of_far_b = fetch_b(walk_far_b, tile);
#endif
    if lb < THREADS_B { *into_b = fetch_b(walk_b, tile); }
#endif
    // The condition stands at the end: at the beginning it made the products 6 % slower on lavapipe.
    var turn = 0u;
    loop {
#ifndef PREFETCH
        if l < THREADS_A { of_a = fetch_a(walk_a, tile); }
#ifdef TWICE_A
        of_far_a = fetch_a(walk_far_a, tile);
#endif
#ifdef TWICE_B
        of_far_b = fetch_b(walk_far_b, tile);
#endif
        if lb < THREADS_B { *into_b = fetch_b(walk_b, tile); }
#endif
        if l < THREADS_A { keep_a(l, of_a, buffer); }
#ifdef TWICE_A
        keep_a(l + 256u, of_far_a, buffer);
#endif
#ifdef TWICE_B
        keep_b(lb + 256u, of_far_b, buffer);
#endif
        if lb < THREADS_B { keep_b(lb, *into_b, buffer); }
        workgroupBarrier();
        turn = turn + 1u;
        let more = turn < turns;
        walk_a = next_a(walk_a, tile);
#ifdef TWICE_A
        walk_far_a = next_a(walk_far_a, tile);
#endif
#ifdef TWICE_B
        walk_far_b = next_b(walk_far_b, tile);
#endif
        walk_b = next_b(walk_b, tile);
#ifdef PREFETCH
        if more {
            if l < THREADS_A { of_a = fetch_a(walk_a, tile); }
#ifdef TWICE_A
            of_far_a = fetch_a(walk_far_a, tile);
#endif
#ifdef TWICE_B
            of_far_b = fetch_b(walk_far_b, tile);
#endif
            if lb < THREADS_B { *into_b = fetch_b(walk_b, tile); }
        }
#endif
        multiply_buffer(sums, l, buffer);
#ifdef TWO_BUFFERS
        // Whoever filled the other buffer's last blocks has passed a barrier since all were done with them.
        buffer = 1u - buffer;
#else
        workgroupBarrier();
#endif
        if !more { break; }
    }
}
#endif
