// Gradient of take_tokens by the fill: the sum of dy over the tokens whose index is none of the N, rows of D numbers.
// part[k,c] = the sum over 64 rows from 64 k on, in their order; column_sum.wgsl adds these up. p.rows rows in the
// dispatch, p.first its first part. A thread a part's column. Grid: ceil(parts D / 64) groups, folded.
#import grid
struct Params { rows: u32, d: u32, n: u32, first: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> part: array<f32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    let k = t / p.d;
    let c = t % p.d;
    if k * 64u >= p.rows { return; }
    var s = 0.0;
    for (var row = k * 64u; row < min(p.rows, (k + 1u) * 64u); row = row + 1u) {
        if index[row] >= p.n { s = s + dy[row * p.d + c]; }
    }
    part[p.first * p.d + t] = s;
}
