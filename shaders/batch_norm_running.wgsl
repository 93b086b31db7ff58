// Running statistics, PyTorch's rule: r_c = (1 - momentum) r_c + momentum * factor * batch_c, factor = 1 for the mean and n / (n - 1) for the variance
// (the batch's is biased, the running one is not). One dispatch each for mean and variance. A thread a channel. Grid: ceil(C / 64) groups.
#import grid
struct Params { c: u32, momentum: f32, factor: f32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> batch: array<f32>;
@group(0) @binding(1) var<storage, read_write> running: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let c = group_index(wid, nwg) * 64u + lid.x;
    if c >= p.c { return; }
    running[c] = (1.0 - p.momentum) * running[c] + p.momentum * (p.factor * batch[c]);
}
