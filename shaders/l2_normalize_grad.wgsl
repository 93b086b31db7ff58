// dx = (dy - y (y . dy)) / |x| where |x| > eps, else dy / eps: the gradient of y = x / max(|x|, eps), row by row.
// A group a row; 64 threads stride, then a tree. Grid: rows groups, folded.
#import grid
struct Params { rows: u32, d: u32, eps: f32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
var<workgroup> lane: array<vec2<f32>, 64>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let row = group_index(wid, nwg);
    if row >= p.rows { return; }
    var s = vec2<f32>(0.0);
    for (var i = lid.x; i < p.d; i = i + 64u) {
        let v = x[row * p.d + i];
        s = s + vec2<f32>(v * v, v * dy[row * p.d + i]);
    }
    lane[lid.x] = s;
    workgroupBarrier();
    for (var h = 32u; h > 0u; h = h / 2u) {
        if lid.x < h { lane[lid.x] = lane[lid.x] + lane[lid.x + h]; }
        workgroupBarrier();
    }
    let norm = sqrt(lane[0].x);
    let inv = 1.0 / max(norm, p.eps);
    // y (y . dy) = x (x . dy) / |x|^2; below eps the norm is a constant and that term is absent.
    let along = select(0.0, lane[0].y * inv * inv, norm > p.eps);
    for (var i = lid.x; i < p.d; i = i + 64u) {
        let at = row * p.d + i;
        dx[at] = (dy[at] - x[at] * along) * inv;
    }
}
