// Gradient of l2_normalize: dx = (dy - x (x . dy) / |x|^2) / |x|; dy / eps where |x| <= eps (p.a).
// Grid: a group a row, folded (lib/row.wgsl).
#import row
#import clamp
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
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
    var t = 0.0;
    for (var i = l; i < p.d; i = i + 64u) {
        s = fma(x[at + i], x[at + i], s);
        t = fma(x[at + i], dy[at + i], t);
    }
    let norm = sqrt(row_sum(l, s));
    let dot = row_sum(l, t);
    let inv = 1.0 / at_least(norm, p.a);
    let along = select(0.0, dot * inv * inv, norm > p.a);
    for (var i = l; i < p.d; i = i + 64u) { dx[at + i] = (dy[at + i] - x[at + i] * along) * inv; }
}
