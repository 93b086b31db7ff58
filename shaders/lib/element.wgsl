// One element E a thread: 16 bytes where the length allows, vec4<f32> (define VEC4) or eight halves (VEC8: HALF, of
// which `add` and `reshape` are the only kernels: matrices can be added and copied), else four halves or one number.
// p.n counts elements E; a and b are the op's constants. Grid: ceil(n / 64) groups, folded.
#import grid
#import storage
#ifdef VEC8
alias E = mat2x4<f16>;
#else
#ifdef VEC4
alias E = S4;
#else
alias E = S;
#endif
#endif
struct Params { n: u32, a: f32, b: f32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
fn element(wid: vec3<u32>, nwg: vec3<u32>, lid: vec3<u32>) -> u32 {
    return group_index(wid, nwg) * 64u + lid.x;
}
