// Gradient of masked_mse by pred: dpred_i = 2 / D w_r dy_r (pred_i - target_i) for each row r of length D; w = mask, or
// 1 - mask with p.a = 1. Grid: a group a row, folded (lib/row.wgsl).
#import row
@group(0) @binding(0) var<storage, read> pred: array<f32>;
@group(0) @binding(1) var<storage, read> goal: array<f32>;
@group(0) @binding(2) var<storage, read> mask: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dpred: array<f32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let row = group_index(wid, nwg);
    if row >= p.rows { return; }
    let at = row * p.d;
    let w = select(mask[row], 1.0 - mask[row], p.a == 1.0);
    let factor = 2.0 * w * dy[row] / f32(p.d);
    for (var i = lid.x; i < p.d; i = i + 64u) { dpred[at + i] = factor * (pred[at + i] - goal[at + i]); }
}
