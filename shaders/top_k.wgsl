// The kappa largest candidates of each row of s [rows, N], as a threshold: column j is selected iff s_j > value, or s_j == value and j <= index.
// Ties go to the lower column. Exact: the kappa-th largest ordered bit pattern is built from its highest bit down by counting, then the index likewise.
// kappa is clamped to the number of candidates. A dispatch covers p.rows rows from row p.first on; in the bound slices they start at off_s and off_row.
// A group of 64 threads a row. Grid: p.rows groups, folded.
#import grid
struct Params { a: u32, n: u32, rows: u32, kappa: u32, arrangement: u32, include_positive: u32, first: u32, off_s: u32, off_row: u32, r0: u32, r1: u32, r2: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> s: array<f32>;
@group(0) @binding(1) var<storage, read_write> value: array<f32>;
@group(0) @binding(2) var<storage, read_write> index: array<u32>;
#import candidates
var<workgroup> lane: array<u32, 64>;

// Order of floats as order of integers; -0 equals +0, as it does for the loss that compares with the threshold.
fn key(v: f32) -> u32 {
    let b = select(bitcast<u32>(v), 0u, v == 0.0);
    return select(b | 0x80000000u, ~b, (b & 0x80000000u) != 0u);
}

fn total(l: u32, v: u32) -> u32 {
    workgroupBarrier();
    lane[l] = v;
    workgroupBarrier();
    for (var h = 32u; h > 0u; h = h / 2u) {
        if l < h { lane[l] = lane[l] + lane[l + h]; }
        workgroupBarrier();
    }
    return lane[0];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let row = group_index(wid, nwg);
    if row >= p.rows { return; }
    let i = (p.first + row) % p.a;
    let base = p.off_s + row * p.n;
    let l = lid.x;
    var own = 0u;
    for (var j = l; j < p.n; j = j + 64u) { own = own + select(0u, 1u, is_candidate(i, j)); }
    let k = min(p.kappa, total(l, own));
    var prefix = 0u;
    for (var bit = 0u; bit < 32u; bit = bit + 1u) {
        let trial = prefix | (0x80000000u >> bit);
        var c = 0u;
        for (var j = l; j < p.n; j = j + 64u) { c = c + select(0u, 1u, is_candidate(i, j) && key(s[base + j]) >= trial); }
        if total(l, c) >= k { prefix = trial; }
    }
    var above = 0u;
    for (var j = l; j < p.n; j = j + 64u) { above = above + select(0u, 1u, is_candidate(i, j) && key(s[base + j]) > prefix); }
    let need = k - total(l, above);
    var last = 0u;
    for (var bit = 0u; bit < 32u; bit = bit + 1u) {
        let trial = last | (0x80000000u >> bit);
        var c = 0u;
        for (var j = l; j < p.n; j = j + 64u) { c = c + select(0u, 1u, j < trial && is_candidate(i, j) && key(s[base + j]) == prefix); }
        if trial < p.n && total(l, c) < need { last = trial; }
        workgroupBarrier();
    }
    if l == 0u {
        value[p.off_row + row] = bitcast<f32>(select(~prefix, prefix & 0x7fffffffu, (prefix & 0x80000000u) != 0u));
        index[p.off_row + row] = last;
    }
}
