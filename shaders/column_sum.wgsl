// y[b,c,j] = sum over rows i of chunk c of x[b,i,j]; x [B,M,N], chunk c = rows [c*rows, (c+1)*rows).
// Run twice: into partial sums [B,chunks,N], then with one chunk over those. Fixed order. A thread a (b, c, j).
// Grid: ceil(B*chunks*N / 64) groups, folded.
#import grid
struct Params { m: u32, n: u32, rows: u32, chunks: u32, total: u32, r0: u32, r1: u32, r2: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let j = t % p.n;
    let bc = t / p.n;
    let c = bc % p.chunks;
    let b = bc / p.chunks;
    let last = min(p.m, (c + 1u) * p.rows);
    var s = 0.0;
    for (var i = c * p.rows; i < last; i = i + 1u) { s = s + x[(b * p.m + i) * p.n + j]; }
    y[t] = s;
}
