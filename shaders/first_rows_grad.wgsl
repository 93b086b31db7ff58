// dx = dy followed by zeros. p.kept: elements of dy. A thread an element of dx. Grid: ceil(n / 64) groups, folded.
#import grid
struct Params { n: u32, kept: u32, r0: u32, r1: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> dx: array<f32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = group_index(wid, nwg) * 64u + lid.x;
    if i >= p.n { return; }
    dx[i] = select(0.0, dy[min(i, p.kept - 1u)], i < p.kept);
}
