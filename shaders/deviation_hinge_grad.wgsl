// dx_i = -dy_i / (2 sqrt(x_i + eps)) where sqrt(x_i + eps) < 1, else 0; p.a = eps
// Any shape, flattened. Grid: lib/element.wgsl.
#import element
@group(0) @binding(0) var<storage, read> dy: array<E>;
@group(0) @binding(1) var<storage, read> x: array<E>;
@group(0) @binding(2) var<storage, read_write> dx: array<E>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = element(wid, nwg, lid);
    if i >= p.n { return; }
    let s = sqrt(x[i] + E(p.a));
    dx[i] = select(E(0.0), -dy[i] / (s + s), s < E(1.0));
}
