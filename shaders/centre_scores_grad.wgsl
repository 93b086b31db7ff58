// Gradient of centre_scores from dr: dx = g (dr - S_c / pairs) (on a square's diagonal g dr), S_c = sum of dr over
// head c; dg = sum dr (x - mean_c).
// `rows`: a group a row sums dr and dr (x - mean); `heads`: one group sums the rows of each head, in order, and the
// heads; `apply`: a thread an element.
// Grid: rows C*A, heads 1, apply ceil(C*A*N / 64) groups, folded.
#import grid
struct Params { c: u32, a: u32, n: u32, square: u32, k: f32, total: u32, r0: u32, r1: u32 }
@group(1) @binding(0) var<uniform> p: Params;
fn pairs() -> f32 { return f32(p.a * p.n - p.square * p.a); }
#ifdef ROWS
@group(0) @binding(0) var<storage, read> dr: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> part: array<vec2<f32>>;
#endif
#ifdef HEADS
@group(0) @binding(0) var<storage, read> part: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> sum: array<f32>;
@group(0) @binding(2) var<storage, read_write> dgain: array<f32>;
#endif
#ifdef APPLY
@group(0) @binding(0) var<storage, read> dr: array<f32>;
@group(0) @binding(1) var<storage, read> sum: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
@compute @workgroup_size(64)
fn apply(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let row = t / p.n;
    let counted = p.square == 0u || t % p.n != row % p.a;
    dx[t] = gain[0] * (dr[t] - select(0.0, sum[row / p.a] / pairs(), counted));
}
#else
var<workgroup> lane: array<vec2<f32>, 64>;
fn total(l: u32, v: vec2<f32>) -> vec2<f32> {
    workgroupBarrier();
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
    var s = vec2<f32>(0.0);
    for (var j = lid.x; j < p.n; j = j + 64u) {
        let d = dr[row * p.n + j];
        s = s + vec2<f32>(d, d * (x[row * p.n + j] - mean[row / p.a]));
    }
    s = total(lid.x, s);
    if lid.x == 0u { part[row] = s; }
}
#endif
#ifdef HEADS
@compute @workgroup_size(64)
fn heads(@builtin(local_invocation_id) lid: vec3<u32>) {
    var gain = 0.0;
    for (var c = 0u; c < p.c; c = c + 1u) {
        var s = vec2<f32>(0.0);
        for (var i = lid.x; i < p.a; i = i + 64u) { s = s + part[c * p.a + i]; }
        s = total(lid.x, s);
        if lid.x == 0u { sum[c] = s.x; }
        gain = gain + s.y;
    }
    if lid.x == 0u { dgain[0] = gain; }
}
#endif
#endif
