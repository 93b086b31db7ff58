// Parameters of amcl_loss and its gradient; mirrors ops/amcl_loss.rs. A dispatch covers p.rows anchors from row
// p.first of all heads' rows on; in the bound slices the matrices start at element off_s (similarities) and off_r
// (scores), the per-row tensors at off_row.
struct Params {
    a: u32, n: u32, rows: u32, first: u32,
    off_s: u32, off_row: u32, off_r: u32, accumulate: u32,
    arrangement: u32, include_positive: u32, softmax: u32, warmup: u32,
    adaptive_pos: u32, adaptive_neg: u32, official_sum: u32, tau_const: f32,
    beta: f32, eta: f32, iota: f32, half_d: f32,
}
@group(1) @binding(0) var<uniform> p: Params;
