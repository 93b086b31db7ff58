// acc_i = (step.micro == 0 ? 0 : acc_i) + g_i * step.grad_scale: gradients over micro-batches.
// The first micro-batch overwrites, so that nothing has to clear.
// Any shape, flattened. Grid: lib/element.wgsl.
#import element
#import step
@group(0) @binding(0) var<storage, read> g: array<E>;
@group(0) @binding(1) var<storage, read_write> acc: array<E>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = element(wid, nwg, lid);
    if i >= p.n { return; }
    let add = g[i] * step.grad_scale;
    if step.micro == 0u {
        acc[i] = add;
    } else {
        acc[i] = acc[i] + add;
    }
}
