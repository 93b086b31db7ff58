// The scores of the centred temperature: r = g (x - mean_c) + k, x [C,A,N] cosines, mean over the pairs of head c
// (p.square: without the diagonal, which is each view with itself), g a learned gain, k pinning the mean temperature.
// `rows`: a group a row sums it; `heads`: a group a head sums the rows, in order; `apply`: a thread an element.
// Grid: rows C*A, heads C, apply ceil(C*A*N / 64) groups, folded.
#import grid
struct Params { c: u32, a: u32, n: u32, square: u32, k: f32, total: u32, r0: u32, r1: u32 }
@group(1) @binding(0) var<uniform> p: Params;
fn pairs() -> f32 { return f32(p.a * p.n - p.square * p.a); }
#ifdef ROWS
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> part: array<f32>;
#endif
#ifdef HEADS
@group(0) @binding(0) var<storage, read> part: array<f32>;
@group(0) @binding(1) var<storage, read_write> mean: array<f32>;
#endif
#ifdef APPLY
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> mean: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn apply(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    y[t] = gain[0] * (x[t] - mean[t / (p.a * p.n)]) + p.k;
}
#else
var<workgroup> lane: array<f32, 64>;
fn total(l: u32, v: f32) -> f32 {
    lane[l] = v;
    workgroupBarrier();
    for (var h = 32u; h > 0u; h = h / 2u) {
        if l < h { lane[l] = lane[l] + lane[l + h]; }
        workgroupBarrier();
    }
    return lane[0];
}
#ifdef ROWS
@compute @workgroup_size(64)
fn rows(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let row = group_index(wid, nwg);
    if row >= p.c * p.a { return; }
    var s = 0.0;
    for (var j = lid.x; j < p.n; j = j + 64u) {
        if p.square == 0u || j != row % p.a { s = s + x[row * p.n + j]; }
    }
    s = total(lid.x, s);
    if lid.x == 0u { part[row] = s; }
}
#endif
#ifdef HEADS
@compute @workgroup_size(64)
fn heads(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let c = group_index(wid, nwg);
    if c >= p.c { return; }
    var s = 0.0;
    for (var i = lid.x; i < p.a; i = i + 64u) { s = s + part[c * p.a + i]; }
    s = total(lid.x, s);
    if lid.x == 0u { mean[c] = s / pairs(); }
}
#endif
#endif
