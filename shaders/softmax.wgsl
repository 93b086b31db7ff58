// y_i = exp(x_i - m) / sum_j exp(x_j - m), m the row's largest, for each row of length D.
// Grid: a group a row, folded (lib/row.wgsl).
#import nan
#import row
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let row = group_index(wid, nwg);
    if row >= p.rows { return; }
    let l = lid.x;
    let at = row * p.d;
    var m = x[at];
    for (var i = l; i < p.d; i = i + 64u) { m = max(m, x[at + i]); }
    m = row_max(l, m);
    var s = 0.0;
    for (var i = l; i < p.d; i = i + 64u) { s = s + exp_or_nan(x[at + i] - m); }
    let inv = 1.0 / row_sum(l, s);
    for (var i = l; i < p.d; i = i + 64u) { y[at + i] = exp_or_nan(x[at + i] - m) * inv; }
}
