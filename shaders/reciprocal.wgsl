// y_i = 1 / max(a x_i + b, 1e-6) (p.a, p.b); a NaN stays one
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
    y[i] = E(1.0) / at_least(p.a * x[i] + E(p.b), 1e-6);
}
