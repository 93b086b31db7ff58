// Gradient of standardize_columns from its result y: dx = (dy - mean(dy) - y sum(dy y) / p.divisor) / std, down
// each column of [C,N,D], whatever its eps.
// Grid: a thread a column, ceil(C*D / 64) groups, folded.
#import grid
struct Params { total: u32, n: u32, d: u32, divisor: f32, eps: f32, r0: u32, r1: u32, r2: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> inv: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
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
    var q = 0.0;
    for (var i = 0u; i < p.n; i = i + 1u) {
        s = s + dy[at + i * p.d];
        q = fma(dy[at + i * p.d], y[at + i * p.d], q);
    }
    let mean = s / f32(p.n);
    let along = q / p.divisor;
    for (var i = 0u; i < p.n; i = i + 1u) {
        let j = at + i * p.d;
        dx[j] = (dy[j] - mean - y[j] * along) * inv[t];
    }
}
