// Gradient of layer normalisation, with h = (x - mean) rstd and g = dy w for each row of length D:
//   dx = rstd (g - mean(g) - h mean(g h));   dw = sum over rows of dy h;   db = sum over rows of dy.
// `main`: a group of 64 threads takes a run of p.run rows, one after the other, and reads dy and x once: it makes dx,
//   and keeps its columns' shares of dw and db in registers (lib/wide_row.wgsl).
//   They are partial sums, part_w and part_b [runs,D], which column_sum.wgsl adds up; p.first is the dispatch's first
//   run.
// For drivers that run on CPUs, where barriers are dear: SERIAL, a thread a row, makes dx; COLUMNS, a thread an element
//   E of a run's columns, the partial sums.
// Grid: p.groups groups (SERIAL: ceil(rows / 64), COLUMNS: ceil(runs D / WIDE / 64)), folded.
#import wide_row
struct Params { rows: u32, d: u32, run: u32, groups: u32, first: u32, r0: u32, r1: u32, r2: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> dy: array<E>;
@group(0) @binding(1) var<storage, read> x: array<E>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
#ifdef COLUMNS
@group(0) @binding(4) var<storage, read_write> part_w: array<E>;
@group(0) @binding(5) var<storage, read_write> part_b: array<E>;
@compute @workgroup_size(64)
fn columns(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    let width = p.d / WIDE;
    let run = t / width;
    if run >= p.groups { return; }
    let c = t % width;
    var sw = E(0.0);
    var sb = E(0.0);
    for (var row = run * p.run; row < min(p.rows, (run + 1u) * p.run); row = row + 1u) {
        let d = dy[row * width + c];
        sw = fma(d, (x[row * width + c] - E(mean[row])) * rstd[row], sw);
        sb = sb + d;
    }
    part_w[(p.first + run) * width + c] = sw;
    part_b[(p.first + run) * width + c] = sb;
}
#else
@group(0) @binding(4) var<storage, read> w: array<E>;
@group(0) @binding(5) var<storage, read_write> dx: array<E>;
#ifdef SERIAL
@compute @workgroup_size(64)
fn serial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let row = group_index(wid, nwg) * 64u + lid.x;
    if row >= p.rows { return; }
    let width = p.d / WIDE;
    let at = row * width;
    let m = E(mean[row]);
    let r = rstd[row];
    var one = E(0.0);
    var two = E(0.0);
    for (var c = 0u; c < width; c = c + 1u) {
        let g = dy[at + c] * w[c];
        one = one + g;
        two = fma(g, (x[at + c] - m) * r, two);
    }
    let s = vec2<f32>(across(one), across(two)) / f32(p.d);
    for (var c = 0u; c < width; c = c + 1u) {
        let g = dy[at + c] * w[c];
        dx[at + c] = (g - E(s.x) - (x[at + c] - m) * (r * s.y)) * r;
    }
}
#else
@group(0) @binding(6) var<storage, read_write> part_w: array<E>;
@group(0) @binding(7) var<storage, read_write> part_b: array<E>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let run = group_index(wid, nwg);
    if run >= p.groups { return; }
    let l = lid.x;
    let width = p.d / WIDE;
    var weight: array<E, KEEP>;
    var sw: array<E, KEEP>;
    var sb: array<E, KEEP>;
    var h: array<E, KEEP>;
    var g: array<E, KEEP>;
    for (var i = 0u; i < KEEP; i = i + 1u) {
        if l + i * 64u < width { weight[i] = w[l + i * 64u]; }
    }
    for (var row = run * p.run; row < min(p.rows, (run + 1u) * p.run); row = row + 1u) {
        let at = row * width + l;
        let m = E(mean[row]);
        let r = rstd[row];
        var s = vec2<f32>(0.0);
        for (var i = 0u; i < KEEP; i = i + 1u) {
            if l + i * 64u < width {
                let d = dy[at + i * 64u];
                h[i] = (x[at + i * 64u] - m) * r;
                g[i] = d * weight[i];
                sw[i] = fma(d, h[i], sw[i]);
                sb[i] = sb[i] + d;
                s = s + vec2<f32>(across(g[i]), across(g[i] * h[i]));
            }
        }
        s = row_sums(l, s) / f32(p.d);
        for (var i = 0u; i < KEEP; i = i + 1u) {
            if l + i * 64u < width { dx[at + i * 64u] = (g[i] - E(s.x) - h[i] * s.y) * r; }
        }
    }
    let to = (p.first + run) * width + l;
    for (var i = 0u; i < KEEP; i = i + 1u) {
        if l + i * 64u < width {
            part_w[to + i * 64u] = sw[i];
            part_b[to + i * 64u] = sb[i];
        }
    }
}
#endif
#endif
