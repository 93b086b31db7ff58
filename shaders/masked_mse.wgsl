// y_r = w_r / D sum_i (pred_i - target_i)^2 for each row r of length D; w = mask, or 1 - mask with p.a = 1.
// Grid: a group a row, folded (lib/row.wgsl).
#import row
@group(0) @binding(0) var<storage, read> pred: array<f32>;
@group(0) @binding(1) var<storage, read> goal: array<f32>;
@group(0) @binding(2) var<storage, read> mask: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
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
    for (var i = l; i < p.d; i = i + 64u) {
        let v = pred[at + i] - goal[at + i];
        s = fma(v, v, s);
    }
    s = row_sum(l, s);
    if l == 0u { y[row] = select(mask[row], 1.0 - mask[row], p.a == 1.0) * s / f32(p.d); }
}
