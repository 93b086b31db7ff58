// One element E a thread, E = vec4<f32> when the length allows (define VEC4), else f32 (of f16 with HALF: `add` alone).
// p.n counts elements E; a and b are the op's constants. Grid: ceil(n / 64) groups, folded.
#import grid
#import storage
#ifdef VEC4
alias E = S4;
#else
alias E = S;
#endif
struct Params { n: u32, a: f32, b: f32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
fn element(wid: vec3<u32>, nwg: vec3<u32>, lid: vec3<u32>) -> u32 {
    return group_index(wid, nwg) * 64u + lid.x;
}
