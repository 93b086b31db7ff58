// Gradient of GELU: dx = dy (Phi(x) + x exp(-x^2/2) / sqrt(2 pi)).
// HALF: x lies in f16. Any shape, flattened. Grid: lib/element.wgsl.
#import element
#ifdef VEC4
alias V = vec4<f32>;
#else
alias V = f32;
#endif
#import normal
@group(0) @binding(0) var<storage, read> dy: array<V>;
@group(0) @binding(1) var<storage, read> x: array<E>;
@group(0) @binding(2) var<storage, read_write> dx: array<V>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = element(wid, nwg, lid);
    if i >= p.n { return; }
    let v = V(x[i]);
    let f = normal(v);
    dx[i] = dy[i] * fma(v * f.e, V(0.39894228), f.phi);
}
