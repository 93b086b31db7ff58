// Parameters of the kernels that walk over pairs of rows (lib/pair_tile.wgsl); mirrors ops/amcl_stream.rs.
// A dispatch covers p.heads heads, p.head0 the first of them, from the start of the bound slices, which is element off_z,
// off_f, off_row, off_packed; of their anchors it takes p.tiles times 64 from p.first on, but none behind p.end. Results
// are of p.own anchors a head, from off_own_z, off_own_f, off_own on: anchor i is the one with number i - p.shift.
struct Params {
    a: u32, d: u32, heads: u32, chunks: u32,
    off_z: u32, off_f: u32, off_row: u32, accumulate: u32,
    arrangement: u32, include_positive: u32, adaptive_pos: u32, adaptive_neg: u32,
    tau_const: f32, beta: f32, eta: f32, iota: f32,
    half_d: f32, first: u32, tiles: u32, kappa: u32,
    warmup: u32, official_sum: u32, end: u32, shift: u32,
    own: u32, off_own_z: u32, off_own_f: u32, off_own: u32,
    head0: u32, score_heads: u32, off_packed: u32, centre: f32,
}
@group(1) @binding(0) var<uniform> p: Params;
