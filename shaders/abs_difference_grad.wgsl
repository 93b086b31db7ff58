// da_i = dy_i where a_i > b_i, -dy_i where a_i < b_i, else 0 (the derivative of |a - b| at 0 is 0, as PyTorch's)
// Any shape, flattened. Grid: lib/element.wgsl.
#import element
@group(0) @binding(0) var<storage, read> dy: array<E>;
@group(0) @binding(1) var<storage, read> a: array<E>;
@group(0) @binding(2) var<storage, read> b: array<E>;
@group(0) @binding(3) var<storage, read_write> da: array<E>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = element(wid, nwg, lid);
    if i >= p.n { return; }
    let below = select(E(0.0), -dy[i], a[i] < b[i]);
    da[i] = select(below, dy[i], a[i] > b[i]);
}
