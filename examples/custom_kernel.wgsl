// y = x / (1 + exp(-x)), x and y of n.x numbers. Grid: ceil(n.x / 64) groups, folded.
#import grid
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> n: vec4<u32>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>) {
    let i = group_index(wid, nwg) * 64u + lid.x;
    if i >= n.x { return; }
    y[i] = x[i] / (1.0 + exp(-x[i]));
}
