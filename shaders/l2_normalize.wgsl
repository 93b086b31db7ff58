// y_i = x_i / max(|x|, eps) for each row x of length D (torch.nn.functional.normalize); p.a = eps. A NaN
// makes its whole row NaN.
// Grid: a group a row, folded (lib/row.wgsl).
#import row
#import clamp
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
    for (var i = l; i < p.d; i = i + 64u) { s = fma(x[at + i], x[at + i], s); }
    let inv = 1.0 / at_least(sqrt(row_sum(l, s)), p.a);
    for (var i = l; i < p.d; i = i + 64u) { y[at + i] = x[at + i] * inv; }
}
