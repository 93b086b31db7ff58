// The kappa largest candidates of each row of s [rows, N], as a threshold (lib/select.wgsl): column j is selected iff
// s_j > value, or s_j == value and j <= index.
// kappa is clamped to the number of candidates. A dispatch covers p.rows rows from row p.first on; in the bound
// slices they start at off_s and off_row.
// A group of 64 threads a row. Grid: p.rows groups, folded.
#import grid
struct Params {
    a: u32, n: u32, rows: u32, kappa: u32, arrangement: u32, include_positive: u32, first: u32, off_s: u32,
    off_row: u32, r0: u32, r1: u32, r2: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> s: array<f32>;
@group(0) @binding(1) var<storage, read_write> value: array<f32>;
@group(0) @binding(2) var<storage, read_write> index: array<u32>;
#import candidates
#import select

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let row = group_index(wid, nwg);
    if row >= p.rows { return; }
    let t = threshold(lid.x, (p.first + row) % p.a, p.off_s + row * p.n, p.kappa);
    if lid.x == 0u {
        value[p.off_row + row] = value_of(t.key);
        index[p.off_row + row] = t.last;
    }
}
