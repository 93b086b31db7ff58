// g_i = g_i / scale: the loss scale of mixed precision taken out of the gradients again. Scales are powers of two, so
// that this rounds nothing.
// Any shape, flattened. Grid: lib/element.wgsl.
#import element
@group(0) @binding(0) var<storage, read> scale: array<f32>;
@group(0) @binding(1) var<storage, read_write> g: array<E>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = element(wid, nwg, lid);
    if i >= p.n { return; }
    // The inverse of a power of two, by its exponent: a division may be off in the last place.
    g[i] = g[i] * bitcast<f32>((254u << 23u) - bitcast<u32>(scale[0]));
}
