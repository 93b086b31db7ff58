// y = x Phi(x), Phi the standard normal's distribution function: the exact GELU, x/2 (1 + erf(x / sqrt 2)).
// HALF: y lies in f16, with HALF_X so does x. Any shape, flattened. Grid: lib/element.wgsl.
#import element
#ifdef VEC4
alias V = vec4<f32>;
#else
alias V = f32;
#endif
#import normal
#ifdef HALF_X
@group(0) @binding(0) var<storage, read> x: array<E>;
#else
@group(0) @binding(0) var<storage, read> x: array<V>;
#endif
@group(0) @binding(1) var<storage, read_write> y: array<E>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = element(wid, nwg, lid);
    if i >= p.n { return; }
    let v = V(x[i]);
    y[i] = E(v * normal(v).phi);
}
