// Gradient of softmax from its result y: dx_i = y_i (dy_i - sum_j dy_j y_j) for each row of length D.
// Grid: a group a row, folded (lib/row.wgsl).
#import row
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
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
    var s = 0.0;
    for (var i = l; i < p.d; i = i + 64u) { s = fma(dy[at + i], y[at + i], s); }
    s = row_sum(l, s);
    for (var i = l; i < p.d; i = i + 64u) { dx[at + i] = y[at + i] * (dy[at + i] - s); }
}
