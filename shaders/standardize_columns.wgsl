// Columns of zero mean and unit deviation, for each matrix x[c] of [N,D] (Barlow Twins): y = (x - mean) / std, std^2 =
// sum (x - mean)^2 / p.divisor + p.eps, of divisor N and eps 1e-5 as batch norm has it, or of N - 1 and 0.
// inv [C,D] = 1/std, for the gradient. Two passes, never E[x^2] - E[x]^2.
// Grid: a thread a column, ceil(C*D / 64) groups, folded.
#import grid
struct Params { total: u32, n: u32, d: u32, divisor: f32, eps: f32, r0: u32, r1: u32, r2: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> inv: array<f32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let at = (t / p.d) * p.n * p.d + t % p.d;
    var s = 0.0;
    for (var i = 0u; i < p.n; i = i + 1u) { s = s + x[at + i * p.d]; }
    let mean = s / f32(p.n);
    var q = 0.0;
    for (var i = 0u; i < p.n; i = i + 1u) {
        let v = x[at + i * p.d] - mean;
        q = fma(v, v, q);
    }
    let k = 1.0 / sqrt(q / p.divisor + p.eps);
    for (var i = 0u; i < p.n; i = i + 1u) { y[at + i * p.d] = (x[at + i * p.d] - mean) * k; }
    inv[t] = k;
}
