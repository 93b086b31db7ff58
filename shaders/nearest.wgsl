// The k largest values of each row of s [rows, N] and their columns, by ascending column: value [rows, K], column
// [rows, K], K = p.k <= N. Ties go to the lower column.
// A group of 64 threads a row: each goes through a run of columns of its own, and writes behind what those before it
// have. Grid: p.rows groups, folded.
#import grid
struct Params { n: u32, rows: u32, k: u32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> s: array<f32>;
@group(0) @binding(1) var<storage, read_write> value: array<f32>;
@group(0) @binding(2) var<storage, read_write> column: array<u32>;
fn is_candidate(i: u32, j: u32) -> bool { return true; }
#import select

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let row = group_index(wid, nwg);
    if row >= p.rows { return; }
    let l = lid.x;
    let base = row * p.n;
    let t = threshold(l, 0u, base, p.k);
    let run = (p.n + 63u) / 64u;
    let start = min(l * run, p.n);
    let end = min(start + run, p.n);
    var own = 0u;
    for (var j = start; j < end; j = j + 1u) { own = own + select(0u, 1u, selected(t, key_of(s[base + j]), j)); }
    workgroupBarrier();
    lane[l] = own;
    workgroupBarrier();
    var at = row * p.k;
    for (var i = 0u; i < l; i = i + 1u) { at = at + lane[i]; }
    for (var j = start; j < end; j = j + 1u) {
        let v = s[base + j];
        if selected(t, key_of(v), j) {
            value[at] = v;
            column[at] = j;
            at = at + 1u;
        }
    }
}
