// Rows of length p.d, a group of 64 threads a row: sums and maxima over a row by thread strides, then a tree (the
// same order every time).
// p.a and p.b are the op's constants. Grid: p.rows groups, folded.
#import grid
struct Params { rows: u32, d: u32, a: f32, b: f32 }
@group(1) @binding(0) var<uniform> p: Params;
var<workgroup> lane: array<f32, 64>;
fn row_sum(l: u32, v: f32) -> f32 {
    workgroupBarrier();
    lane[l] = v;
    workgroupBarrier();
    for (var h = 32u; h > 0u; h = h / 2u) {
        if l < h { lane[l] = lane[l] + lane[l + h]; }
        workgroupBarrier();
    }
    return lane[0];
}
fn row_max(l: u32, v: f32) -> f32 {
    workgroupBarrier();
    lane[l] = v;
    workgroupBarrier();
    for (var h = 32u; h > 0u; h = h / 2u) {
        if l < h { lane[l] = max(lane[l], lane[l + h]); }
        workgroupBarrier();
    }
    return lane[0];
}
