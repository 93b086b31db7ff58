// y_i = max(x_i, 0); a NaN stays one.
// Any shape, flattened. Grid: lib/element.wgsl.
#import element
#import clamp
@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read_write> y: array<E>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = element(wid, nwg, lid);
    if i >= p.n { return; }
    y[i] = relu(x[i]);
}
