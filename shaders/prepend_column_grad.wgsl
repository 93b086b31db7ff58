// Gradient of prepend_column: dfirst[row] = dy[row,0], drest[row,i] = dy[row,1+i]; dy [rows,N+1].
// Grid: a thread an element of dy, ceil(rows*(N+1) / 64) groups, folded.
#import grid
struct Params { total: u32, n: u32, r0: u32, r1: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> dfirst: array<f32>;
@group(0) @binding(2) var<storage, read_write> drest: array<f32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let row = t / (p.n + 1u);
    let j = t % (p.n + 1u);
    if j == 0u { dfirst[row] = dy[t]; } else { drest[row * p.n + j - 1u] = dy[t]; }
}
