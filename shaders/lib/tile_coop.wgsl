// The tile by cooperative matrices of COOP x COOP (define: 16u or 8u; KHR_cooperative_matrix, Metal's simdgroup matrices), operands in f16 (COOP_F32: f32), sums in f32.
// A tile is 8x8 fragments, 128x128 or 64x64. It is cut into 8 blocks, two below each other and four side by side, of 4x2 fragments; each subgroup takes every
// (number of subgroups)th block, at most BLOCKS of them (define: enough for the largest subgroups that the adapter has). Both operands lie k by k, and rows are padded by 16
// bytes or more against bank conflicts. The sums go through workgroup memory to the kernel's `store`, two blocks at a time, since fragments have no elements.
// Workgroup memory: at most 2 * 16 * 136 * 2 + 128 * 32 * 4 bytes = 25 KiB (COOP_F32, 8x8: 2 * 16 * 72 * 4 + 64 * 16 * 4 = 13 KiB).
const TILE_M = COOP * 8u;
const TILE_N = COOP * 8u;
const PITCH = TILE_M + 8u;
#ifdef COOP_F32
alias M = f32;
#else
alias M = f16;
#endif
#ifdef COOP16
alias FragmentA = coop_mat16x16<M, A>;
alias FragmentB = coop_mat16x16<M, B>;
alias FragmentC = coop_mat16x16<f32, C>;
#else
alias FragmentA = coop_mat8x8<M, A>;
alias FragmentB = coop_mat8x8<M, B>;
alias FragmentC = coop_mat8x8<f32, C>;
#endif
const BLOCK_M = COOP * 4u;
const BLOCK_N = COOP * 2u;
var<workgroup> tile_a: array<M, PITCH * 16u>;
var<workgroup> tile_b: array<M, PITCH * 16u>;
var<workgroup> staged: array<f32, BLOCK_M * BLOCK_N * 2u>;
// The thread's subgroup, and how many there are: set by the entry point.
var<private> subgroup: u32;
var<private> subgroups: u32;

struct Fragments {
    a0: FragmentC, a1: FragmentC, b0: FragmentC, b1: FragmentC,
    c0: FragmentC, c1: FragmentC, d0: FragmentC, d1: FragmentC,
}
struct Sums { blocks: array<Fragments, BLOCKS> }

fn put_a(m4: u32, k4: u32, block: mat4x4<f32>) {
    var rows = block;
    for (var kk = 0u; kk < 4u; kk = kk + 1u) {
        let at = (k4 * 4u + kk) * PITCH + m4 * 4u;
        for (var e = 0u; e < 4u; e = e + 1u) { tile_a[at + e] = M(rows[kk][e]); }
    }
}
fn put_b(n4: u32, k4: u32, block: mat4x4<f32>) {
    var rows = block;
    for (var kk = 0u; kk < 4u; kk = kk + 1u) {
        let at = (k4 * 4u + kk) * PITCH + n4 * 4u;
        for (var e = 0u; e < 4u; e = e + 1u) { tile_b[at + e] = M(rows[kk][e]); }
    }
}

fn tile_multiply(sums: ptr<function, Sums>, l: u32) {
    for (var i = 0u; i < BLOCKS; i = i + 1u) {
        let block = subgroup + i * subgroups;
        if block >= 8u { break; }
        var s = (*sums).blocks[i];
        for (var k = 0u; k < TILE_K; k = k + COOP) {
            // Bound by name, as naga asks of what addresses a fragment. Plain is column-major (rows of A side by side), T is row-major.
            let a0 = k * PITCH + (block / 4u) * BLOCK_M;
            let a1 = a0 + COOP;
            let a2 = a0 + 2u * COOP;
            let a3 = a0 + 3u * COOP;
            let b0 = k * PITCH + (block % 4u) * BLOCK_N;
            let b1 = b0 + COOP;
            let left = coopLoadT<FragmentB>(&tile_b[b0], PITCH);
            let right = coopLoadT<FragmentB>(&tile_b[b1], PITCH);
            let first = coopLoad<FragmentA>(&tile_a[a0], PITCH);
            s.a0 = coopMultiplyAdd(first, left, s.a0);
            s.a1 = coopMultiplyAdd(first, right, s.a1);
            let second = coopLoad<FragmentA>(&tile_a[a1], PITCH);
            s.b0 = coopMultiplyAdd(second, left, s.b0);
            s.b1 = coopMultiplyAdd(second, right, s.b1);
            let third = coopLoad<FragmentA>(&tile_a[a2], PITCH);
            s.c0 = coopMultiplyAdd(third, left, s.c0);
            s.c1 = coopMultiplyAdd(third, right, s.c1);
            let fourth = coopLoad<FragmentA>(&tile_a[a3], PITCH);
            s.d0 = coopMultiplyAdd(fourth, left, s.d0);
            s.d1 = coopMultiplyAdd(fourth, right, s.d1);
        }
        (*sums).blocks[i] = s;
    }
}

// Blocks 2 pair and 2 pair + 1 lie side by side, so that what is staged is BLOCK_M x 2 BLOCK_N, row by row.
fn tile_store(sums: ptr<function, Sums>, l: u32, part: u32, m0: u32, n0: u32) {
    let width = 2u * BLOCK_N;
    for (var pair = 0u; pair < 4u; pair = pair + 1u) {
        for (var i = 0u; i < BLOCKS; i = i + 1u) {
            let block = subgroup + i * subgroups;
            if block / 2u == pair {
                let s = (*sums).blocks[i];
                let at0 = (block % 2u) * BLOCK_N;
                let at1 = at0 + COOP;
                let at2 = at0 + COOP * width;
                let at3 = at2 + COOP;
                let at4 = at2 + COOP * width;
                let at5 = at4 + COOP;
                let at6 = at4 + COOP * width;
                let at7 = at6 + COOP;
                coopStoreT(s.a0, &staged[at0], width);
                coopStoreT(s.a1, &staged[at1], width);
                coopStoreT(s.b0, &staged[at2], width);
                coopStoreT(s.b1, &staged[at3], width);
                coopStoreT(s.c0, &staged[at4], width);
                coopStoreT(s.c1, &staged[at5], width);
                coopStoreT(s.d0, &staged[at6], width);
                coopStoreT(s.d1, &staged[at7], width);
            }
        }
        workgroupBarrier();
        let row = (l / (width / 4u)) * 4u;
        let column = (l % (width / 4u)) * 4u;
        if row < BLOCK_M {
            var rows: mat4x4<f32>;
            for (var r = 0u; r < 4u; r = r + 1u) {
                let at = (row + r) * width + column;
                rows[r] = vec4<f32>(staged[at], staged[at + 1u], staged[at + 2u], staged[at + 3u]);
            }
            store(part, m0 + (pair / 2u) * BLOCK_M + row, n0 + (pair % 2u) * width + column, rows);
        }
        workgroupBarrier();
    }
}
