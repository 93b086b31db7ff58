// y_i = x_i / max(|x|, eps) for each row x of length D (torch.nn.functional.normalize).
// A group a row; 64 threads stride, then a tree. Grid: rows groups, folded.
#import grid
struct Params { rows: u32, d: u32, eps: f32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
var<workgroup> lane: array<f32, 64>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let row = group_index(wid, nwg);
    if row >= p.rows { return; }
    var s = 0.0;
    for (var i = lid.x; i < p.d; i = i + 64u) {
        let v = x[row * p.d + i];
        s = fma(v, v, s);
    }
    lane[lid.x] = s;
    workgroupBarrier();
    for (var h = 32u; h > 0u; h = h / 2u) {
        if lid.x < h { lane[lid.x] = lane[lid.x] + lane[lid.x + h]; }
        workgroupBarrier();
    }
    let inv = 1.0 / max(sqrt(lane[0]), p.eps);
    for (var i = lid.x; i < p.d; i = i + 64u) { y[row * p.d + i] = x[row * p.d + i] * inv; }
}
