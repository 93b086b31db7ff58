// The tile by cooperative matrices of COOP x COOP (define: 16u or 8u; KHR_cooperative_matrix, Metal's simdgroup
// matrices), operands as they lie in storage (HALF: f16), sums in f32.
// A tile is cut into 8 blocks, ABREAST (define: 4u or 2u) side by side, of 2x2 fragments, with TALL_BLOCK 4x2, with
// WIDE_BLOCK as well 4x4; each subgroup takes every (number of subgroups)th block, at most BLOCKS of them (define:
// enough for the largest subgroups that the adapter has). With COOP 16: 128x128 (ABREAST 4, TALL_BLOCK), 64x128 (4),
// 256x64 (2, TALL_BLOCK) and 256x128 (2, WIDE_BLOCK), with COOP 8 64x64 (4, TALL_BLOCK) and 64x128 (4, WIDE_BLOCK);
// DEPTH (define) values of k at a time.
// In workgroup memory an operand lies as in storage (tile.wgsl), in rows padded by 8 numbers against bank conflicts.
// coopLoad reads column by column, coopLoadT row by row. The sums go through workgroup memory to the kernel's
// `store`, two fragments of each subgroup at a time, since fragments have no elements; with SINGLY one by one, without
// padding, which leaves that memory to deeper blocks or a second buffer.
// COOP16: that memory is addressed in fours, for vec4 writes, and so are pointers and pitches of fragments (SPIR-V
// counts in the pointer's type; Metal, which counts in numbers, has 8x8 alone).
// Workgroup memory with DEPTH 32, 128x128: 2 * 128 * 40 * 2 + 8 * 16 * 36 * 4 bytes = 38 KiB, 256x128: 48 KiB; with
// 16: 30 and 36 KiB (8x8 in f32: 2 * 64 * 40 * 4 + 8 * 8 * 20 * 4 bytes = 25 KiB). SINGLY: 128x128 with DEPTH 64
// 2 * 128 * 72 * 2 + 8 * 16 * 16 * 4 bytes = 44 KiB, with two buffers of DEPTH 32 48 KiB.
const TILE_K = DEPTH;
const HIGH = 8u / ABREAST;
#ifdef TALL_BLOCK
const BLOCK_M = COOP * 4u;
#else
const BLOCK_M = COOP * 2u;
#endif
#ifdef WIDE_BLOCK
const BLOCK_N = COOP * 4u;
#else
const BLOCK_N = COOP * 2u;
#endif
const TILE_M = HIGH * BLOCK_M;
const TILE_N = ABREAST * BLOCK_N;
#ifdef A_BY_ROWS
const WIDTH_A = TILE_M;
const LENGTH_A = TILE_K;
#else
const WIDTH_A = TILE_K;
const LENGTH_A = TILE_M;
#endif
#ifdef B_BY_COLUMNS
const WIDTH_B = TILE_N;
const LENGTH_B = TILE_K;
#else
const WIDTH_B = TILE_K;
const LENGTH_B = TILE_N;
#endif
const PITCH_A = WIDTH_A + 8u;
const PITCH_B = WIDTH_B + 8u;
#ifdef SINGLY
const WIDTH_C = COOP;
const PITCH_C = COOP;
#else
const WIDTH_C = COOP * 2u;
const PITCH_C = COOP * 2u + 4u;
#endif
#ifdef COOP16
alias FragmentA = coop_mat16x16<S, A>;
alias FragmentB = coop_mat16x16<S, B>;
alias FragmentC = coop_mat16x16<f32, C>;
const UNIT = 4u;
var<workgroup> tile_a: array<S4, BUFFERS * PITCH_A * LENGTH_A / 4u>;
var<workgroup> tile_b: array<S4, BUFFERS * PITCH_B * LENGTH_B / 4u>;
var<workgroup> staged: array<vec4<f32>, COOP * PITCH_C * 8u / 4u>;
fn put_piece_a(at: u32, piece: S4) { tile_a[at / 4u] = piece; }
fn put_piece_b(at: u32, piece: S4) { tile_b[at / 4u] = piece; }
fn staged_piece(at: u32) -> vec4<f32> { return staged[at / 4u]; }
#else
alias FragmentA = coop_mat8x8<S, A>;
alias FragmentB = coop_mat8x8<S, B>;
alias FragmentC = coop_mat8x8<f32, C>;
const UNIT = 1u;
var<workgroup> tile_a: array<S, BUFFERS * PITCH_A * LENGTH_A>;
var<workgroup> tile_b: array<S, BUFFERS * PITCH_B * LENGTH_B>;
var<workgroup> staged: array<f32, COOP * PITCH_C * 8u>;
fn put_piece_a(at: u32, piece: S4) {
    tile_a[at] = piece.x;
    tile_a[at + 1u] = piece.y;
    tile_a[at + 2u] = piece.z;
    tile_a[at + 3u] = piece.w;
}
fn put_piece_b(at: u32, piece: S4) {
    tile_b[at] = piece.x;
    tile_b[at + 1u] = piece.y;
    tile_b[at + 2u] = piece.z;
    tile_b[at + 3u] = piece.w;
}
fn staged_piece(at: u32) -> vec4<f32> {
    return vec4<f32>(staged[at], staged[at + 1u], staged[at + 2u], staged[at + 3u]);
}
#endif
// The thread's subgroup and place in it, how many subgroups there are and how many threads each has: set by `enter`.
var<private> subgroup: u32;
var<private> subgroups: u32;
var<private> lane: u32;
var<private> lanes: u32;
// What a kernel's entry point is given of the thread, and the thread's number in the group.
struct Thread {
    @builtin(local_invocation_id) place: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) lanes: u32,
}
fn enter(thread: Thread) -> u32 {
    subgroup = thread.subgroup;
    subgroups = thread.subgroups;
    lane = thread.lane;
    lanes = thread.lanes;
    return thread.place.x;
}

struct Fragments {
    a0: FragmentC, a1: FragmentC, b0: FragmentC, b1: FragmentC,
#ifdef TALL_BLOCK
    c0: FragmentC, c1: FragmentC, d0: FragmentC, d1: FragmentC,
#endif
#ifdef WIDE_BLOCK
    a2: FragmentC, a3: FragmentC, b2: FragmentC, b3: FragmentC,
    c2: FragmentC, c3: FragmentC, d2: FragmentC, d3: FragmentC,
#endif
}
struct Sums { blocks: array<Fragments, BLOCKS> }

// Neighbouring threads fetch neighbouring pieces of a row of `width` numbers. What lies k by k: of four rows a
// quarter of the tile apart, so that a row is fetched whole; else of four neighbouring rows, that is values of k.
#ifdef A_BY_ROWS
const STEP_A = 1u;
fn spot_a(l: u32) -> Spot { return Spot((l % (WIDTH_A / 4u)) * 4u, (l / (WIDTH_A / 4u)) * 4u); }
#else
const STEP_A = LENGTH_A / 4u;
fn spot_a(l: u32) -> Spot { return Spot((l % (WIDTH_A / 4u)) * 4u, l / (WIDTH_A / 4u)); }
#endif
#ifdef B_BY_COLUMNS
const STEP_B = 1u;
fn spot_b(l: u32) -> Spot { return Spot((l % (WIDTH_B / 4u)) * 4u, (l / (WIDTH_B / 4u)) * 4u); }
#else
const STEP_B = LENGTH_B / 4u;
fn spot_b(l: u32) -> Spot { return Spot((l % (WIDTH_B / 4u)) * 4u, l / (WIDTH_B / 4u)); }
#endif
fn keep_a(l: u32, pieces: Pieces, buffer: u32) {
    let spot = spot_a(l);
    let at = (buffer * LENGTH_A + spot.across) * PITCH_A + spot.along;
    put_piece_a(at, pieces[0]);
    put_piece_a(at + STEP_A * PITCH_A, pieces[1]);
    put_piece_a(at + 2u * STEP_A * PITCH_A, pieces[2]);
    put_piece_a(at + 3u * STEP_A * PITCH_A, pieces[3]);
}
fn keep_b(l: u32, pieces: Pieces, buffer: u32) {
    let spot = spot_b(l);
    let at = (buffer * LENGTH_B + spot.across) * PITCH_B + spot.along;
    put_piece_b(at, pieces[0]);
    put_piece_b(at + STEP_B * PITCH_B, pieces[1]);
    put_piece_b(at + 2u * STEP_B * PITCH_B, pieces[2]);
    put_piece_b(at + 3u * STEP_B * PITCH_B, pieces[3]);
}

// Where the fragment at row m, value k of a buffer's tile begins; at value k, column n.
fn place_a(buffer: u32, m: u32, k: u32) -> u32 {
#ifdef A_BY_ROWS
    return ((buffer * LENGTH_A + k) * PITCH_A + m) / UNIT;
#else
    return ((buffer * LENGTH_A + m) * PITCH_A + k) / UNIT;
#endif
}
fn place_b(buffer: u32, k: u32, n: u32) -> u32 {
#ifdef B_BY_COLUMNS
    return ((buffer * LENGTH_B + k) * PITCH_B + n) / UNIT;
#else
    return ((buffer * LENGTH_B + n) * PITCH_B + k) / UNIT;
#endif
}

fn multiply_buffer(sums: ptr<function, Sums>, l: u32, buffer: u32) {
    // Bound by name, as naga asks of what addresses a fragment.
    let pitch_a = PITCH_A / UNIT;
    let pitch_b = PITCH_B / UNIT;
    for (var i = 0u; i < BLOCKS; i = i + 1u) {
        let block = subgroup + i * subgroups;
        if block >= 8u { break; }
        let m = (block / ABREAST) * BLOCK_M;
        let n = (block % ABREAST) * BLOCK_N;
        var s = (*sums).blocks[i];
        for (var k = 0u; k < TILE_K; k = k + COOP) {
            let a0 = place_a(buffer, m, k);
            let a1 = place_a(buffer, m + COOP, k);
#ifdef TALL_BLOCK
            let a2 = place_a(buffer, m + 2u * COOP, k);
            let a3 = place_a(buffer, m + 3u * COOP, k);
#endif
            let b0 = place_b(buffer, k, n);
            let b1 = place_b(buffer, k, n + COOP);
#ifdef WIDE_BLOCK
            let b2 = place_b(buffer, k, n + 2u * COOP);
            let b3 = place_b(buffer, k, n + 3u * COOP);
#endif
#ifdef B_BY_COLUMNS
            let left = coopLoadT<FragmentB>(&tile_b[b0], pitch_b);
            let right = coopLoadT<FragmentB>(&tile_b[b1], pitch_b);
#ifdef WIDE_BLOCK
            let further = coopLoadT<FragmentB>(&tile_b[b2], pitch_b);
            let last = coopLoadT<FragmentB>(&tile_b[b3], pitch_b);
#endif
#else
            let left = coopLoad<FragmentB>(&tile_b[b0], pitch_b);
            let right = coopLoad<FragmentB>(&tile_b[b1], pitch_b);
#ifdef WIDE_BLOCK
            let further = coopLoad<FragmentB>(&tile_b[b2], pitch_b);
            let last = coopLoad<FragmentB>(&tile_b[b3], pitch_b);
#endif
#endif
#ifdef A_BY_ROWS
            let first = coopLoad<FragmentA>(&tile_a[a0], pitch_a);
            let second = coopLoad<FragmentA>(&tile_a[a1], pitch_a);
#ifdef TALL_BLOCK
            let third = coopLoad<FragmentA>(&tile_a[a2], pitch_a);
            let fourth = coopLoad<FragmentA>(&tile_a[a3], pitch_a);
#endif
#else
            let first = coopLoadT<FragmentA>(&tile_a[a0], pitch_a);
            let second = coopLoadT<FragmentA>(&tile_a[a1], pitch_a);
#ifdef TALL_BLOCK
            let third = coopLoadT<FragmentA>(&tile_a[a2], pitch_a);
            let fourth = coopLoadT<FragmentA>(&tile_a[a3], pitch_a);
#endif
#endif
            s.a0 = coopMultiplyAdd(first, left, s.a0);
            s.a1 = coopMultiplyAdd(first, right, s.a1);
            s.b0 = coopMultiplyAdd(second, left, s.b0);
            s.b1 = coopMultiplyAdd(second, right, s.b1);
#ifdef TALL_BLOCK
            s.c0 = coopMultiplyAdd(third, left, s.c0);
            s.c1 = coopMultiplyAdd(third, right, s.c1);
            s.d0 = coopMultiplyAdd(fourth, left, s.d0);
            s.d1 = coopMultiplyAdd(fourth, right, s.d1);
#endif
#ifdef WIDE_BLOCK
            s.a2 = coopMultiplyAdd(first, further, s.a2);
            s.a3 = coopMultiplyAdd(first, last, s.a3);
            s.b2 = coopMultiplyAdd(second, further, s.b2);
            s.b3 = coopMultiplyAdd(second, last, s.b3);
            s.c2 = coopMultiplyAdd(third, further, s.c2);
            s.c3 = coopMultiplyAdd(third, last, s.c3);
            s.d2 = coopMultiplyAdd(fourth, further, s.d2);
            s.d3 = coopMultiplyAdd(fourth, last, s.d3);
#endif
        }
        (*sums).blocks[i] = s;
    }
}

// Hands on what the subgroup staged: COOP x WIDTH_C sums from row m, column n of C on.
fn hand_on(part: u32, m: u32, n: u32) {
    let start = subgroup * COOP * PITCH_C;
    for (var b = lane; b < COOP / 4u * (WIDTH_C / 4u); b = b + lanes) {
        let row = (b / (WIDTH_C / 4u)) * 4u;
        let column = (b % (WIDTH_C / 4u)) * 4u;
        let at = start + row * PITCH_C + column;
        store(part, m + row, n + column,
            mat4x4<f32>(staged_piece(at), staged_piece(at + PITCH_C), staged_piece(at + 2u * PITCH_C),
                staged_piece(at + 3u * PITCH_C)));
    }
}
// Two fragments side by side, from row m, column n of C on. All threads of the group must call it, those of subgroups
// that are not `busy` too.
fn store_pair(left: FragmentC, right: FragmentC, busy: bool, part: u32, m: u32, n: u32) {
    let pitch = PITCH_C / UNIT;
    let place = subgroup * COOP * PITCH_C / UNIT;
    if busy { coopStoreT(left, &staged[place], pitch); }
#ifdef SINGLY
    workgroupBarrier();
    if busy { hand_on(part, m, n); }
    workgroupBarrier();
    let beside = place;
    let column = n + COOP;
#else
    let beside = place + COOP / UNIT;
    let column = n;
#endif
    if busy { coopStoreT(right, &staged[beside], pitch); }
    workgroupBarrier();
    if busy { hand_on(part, m, column); }
    workgroupBarrier();
}

// Subgroups without a block (there may be more than 8) are not busy.
fn tile_store(sums: ptr<function, Sums>, l: u32, part: u32, m0: u32, n0: u32) {
    for (var i = 0u; i < BLOCKS; i = i + 1u) {
        let block = subgroup + i * subgroups;
        let busy = block < 8u;
        let m = m0 + (block / ABREAST) * BLOCK_M;
        let n = n0 + (block % ABREAST) * BLOCK_N;
        let s = (*sums).blocks[i];
        store_pair(s.a0, s.a1, busy, part, m, n);
        store_pair(s.b0, s.b1, busy, part, m + COOP, n);
#ifdef TALL_BLOCK
        store_pair(s.c0, s.c1, busy, part, m + 2u * COOP, n);
        store_pair(s.d0, s.d1, busy, part, m + 3u * COOP, n);
#endif
#ifdef WIDE_BLOCK
        store_pair(s.a2, s.a3, busy, part, m, n + 2u * COOP);
        store_pair(s.b2, s.b3, busy, part, m + COOP, n + 2u * COOP);
        store_pair(s.c2, s.c3, busy, part, m + 2u * COOP, n + 2u * COOP);
        store_pair(s.d2, s.d3, busy, part, m + 3u * COOP, n + 2u * COOP);
#endif
    }
}
