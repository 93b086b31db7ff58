// dx_i = dy_i where y_i > 0 or a NaN, else 0 (y: the ReLU's output; the derivative at 0 is 0, as PyTorch's)
// Any shape, flattened. Grid: lib/element.wgsl.
#import element
#import clamp
@group(0) @binding(0) var<storage, read> dy: array<E>;
@group(0) @binding(1) var<storage, read> y: array<E>;
@group(0) @binding(2) var<storage, read_write> dx: array<E>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = element(wid, nwg, lid);
    if i >= p.n { return; }
    dx[i] = select(E(0.0), dy[i], lets_through(y[i]));
}
