// Rows of channels [M,C] for sums over rows (batch_norm, batch_norm_grad, global_avg_pool) and for maps with factors
// a channel; mirrors ops/channels.rs.
// A column E is four channels where C is a multiple of 4 (VEC4), else one; X is a column as it lies in storage; p.c
// counts columns.
// Sums: a group of 256 threads takes a run of p.rows rows and p.lanes columns side by side. Its threads stand in 256
// / p.lanes rows below each other and walk down the run by that many rows, so that every read of the group is of
// neighbours. p.blocks groups side by side cover the columns; p.groups counts groups. A thread's rows are taken in
// order and the threads of a column are merged in a fixed order, so that the same shape gives the same bits.
// Maps: a thread keeps the factors of its column and takes every p.span-th element of a tile, p.span being a multiple
// of p.c of about 256; a tile is FLIGHT * p.rounds times p.span elements. Tiles go from the last to the first: the
// rows that the sums read last are those that the cache still holds. p.total = threads with work, p.size = elements.
#import grid
#import storage
struct Params {
    m: u32, c: u32, rows: u32, first: u32,
    lanes: u32, blocks: u32, groups: u32, runs: u32,
    span: u32, rounds: u32, total: u32, size: u32,
    eps: f32, inv_m: f32, r0: u32, r1: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
// Reads of a tensor that a thread has in flight; mirrors `flight` of ops/channels.rs. Halves are half as many bytes a
// read, and what hides memory's latency is the bytes in flight.
#ifdef HALF
const FLIGHT: u32 = 8u;
#else
const FLIGHT: u32 = 4u;
#endif
#ifdef VEC4
alias E = vec4<f32>;
alias X = S4;
#else
alias E = f32;
alias X = S;
#endif

// A thread's rows: `count` elements of its column from element `at` on, `step` apart. `lane` is its row among the
// threads of the column, `run` its group's run.
struct Walk { column: u32, lane: u32, run: u32, at: u32, step: u32, count: u32 }
fn walk(group: u32, l: u32) -> Walk {
    let deep = 256u / p.lanes;
    let run = group / p.blocks;
    let column = (group % p.blocks) * p.lanes + l % p.lanes;
    let lane = l / p.lanes;
    let start = run * p.rows + lane;
    let end = min(p.m, (run + 1u) * p.rows);
    // Threads without rows still reach the barriers: 256 need not be a multiple of p.lanes, nor the columns.
    var count = 0u;
    if lane < deep && column < p.c && start < end { count = (end - start + deep - 1u) / deep; }
    return Walk(column, lane, run, start * p.c + column, deep * p.c, count);
}

// The affine part of batch normalisation. In one place: the gradient asks by it what the ReLU let through.
fn affine(v: X, mean: E, scale: E, shift: E) -> E { return (E(v) - mean) * scale + shift; }

// A thread's first element of a map, its column being that modulo p.c.
fn first_element(t: u32) -> u32 {
    let tile = p.total / p.span - 1u - t / p.span;
    return tile * p.rounds * FLIGHT * p.span + t % p.span;
}
