// Running statistics, PyTorch's rule: r_c = (1 - momentum) r_c + momentum * factor * batch_c, factor = 1 for the mean
// and n / (n - 1) for the variance (the batch's is biased, the running one is not). A thread a channel, both of its
// statistics. Grid: ceil(C / 64) groups.
#import grid
struct Params { c: u32, momentum: f32, unbias: f32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> mean: array<f32>;
@group(0) @binding(1) var<storage, read> variance: array<f32>;
@group(0) @binding(2) var<storage, read_write> running_mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> running_variance: array<f32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let c = group_index(wid, nwg) * 64u + lid.x;
    if c >= p.c { return; }
    running_mean[c] = (1.0 - p.momentum) * running_mean[c] + p.momentum * mean[c];
    running_variance[c] = (1.0 - p.momentum) * running_variance[c] + p.momentum * (p.unbias * variance[c]);
}
