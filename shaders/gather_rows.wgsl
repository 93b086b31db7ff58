// Rows of a table: y[i,:] = table[index[i],:], W words a row.
// The table may exceed one binding: each piece of rows p.first .. p.first + p.rows copies the indices that fall into
// it, so every row of y is written once.
// Grid: a thread a word of y, ceil(B*W / 64) groups, folded.
#import grid
struct Params { width: u32, total: u32, first: u32, rows: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> table: array<u32>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let row = index[t / p.width];
    if row < p.first || row >= p.first + p.rows { return; }
    y[t] = table[(row - p.first) * p.width + t % p.width];
}
