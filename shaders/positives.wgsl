// y_row = s[row, positive of the row's anchor] of s [C,A,N] similarities, as p.arrangement has them.
// A dispatch covers p.rows rows from row p.first on; in the bound slices they start at off_s and off_row. A thread a
// row. Grid: ceil(p.rows / 64) groups, folded.
#import grid
struct Params {
    a: u32, n: u32, rows: u32, first: u32, off_s: u32, off_row: u32, arrangement: u32, include_positive: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> s: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#import candidates
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let row = group_index(wid, nwg) * 64u + lid.x;
    if row >= p.rows { return; }
    y[p.off_row + row] = s[p.off_s + row * p.n + positive_of((p.first + row) % p.a)];
}
