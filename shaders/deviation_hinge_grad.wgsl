// dx_i = -dy_i / (2 sqrt(x_i + eps)) where sqrt(x_i + eps) < 1 or a NaN, else 0; p.a = eps
// Any shape, flattened. Grid: lib/element.wgsl.
#import element
#import clamp
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
    // Neither 1 nor more, by bits: a NaN goes through. (A root is not negative.)
    let b = bitcast<Bits>(s);
    let flat = (b >= Bits(0x3f800000)) & (b <= Bits(BITS_INF));
    dx[i] = select(-dy[i] / (s + s), E(0.0), flat);
}
