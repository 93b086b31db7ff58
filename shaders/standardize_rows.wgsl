// y_i = (x_i - mean) / sqrt(variance + eps) for each row of length D, eps = p.a, with the unbiased variance sum (x -
// mean)^2 / (D - 1).
// The mean is rounded; what x - mean has of a mean is taken off, so that a constant row gives 0 (layer_norm.wgsl).
// Grid: a group a row, folded (lib/row.wgsl).
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
    var s = 0.0;
    for (var i = l; i < p.d; i = i + 64u) { s = s + x[at + i]; }
    let m = row_sum(l, s) / f32(p.d);
    s = 0.0;
    for (var i = l; i < p.d; i = i + 64u) { s = s + (x[at + i] - m); }
    let delta = row_sum(l, s) / f32(p.d);
    s = 0.0;
    for (var i = l; i < p.d; i = i + 64u) {
        let v = x[at + i] - m - delta;
        s = fma(v, v, s);
    }
    let inv = inverseSqrt(row_sum(l, s) / f32(p.d - 1u) + p.a);
    for (var i = l; i < p.d; i = i + 64u) { y[at + i] = (x[at + i] - m - delta) * inv; }
}
