// y[row, i] = |q_row - b_c|^2, c = column[row, i]: q [rows, D], b [N, D], column and y [rows, K]; D = p.d, K = p.k.
// By differences, not by products, so that what nearly coincides has its true small distance. A thread an output.
// Grid: ceil(rows K / 64) groups, folded.
#import grid
struct Params { d: u32, k: u32, total: u32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> column: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let at = t / p.k * p.d;
    let row = column[t] * p.d;
    var s = 0.0;
    for (var i = 0u; i < p.d; i = i + 1u) {
        let e = q[at + i] - b[row + i];
        s = fma(e, e, s);
    }
    y[t] = s;
}
