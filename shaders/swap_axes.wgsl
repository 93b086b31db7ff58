// y[p,b,a,c] = x[p,a,b,c]: two neighbouring axes exchanged.
// A dispatch binds y's elements from y_start on (n of them) and x's from x_start on (m of them), and writes only what
// has its source there: so tensors may exceed a binding.
// HALF: both lie in f16. A thread an element of y (VEC4: four along c). Grid: ceil(n/64), folded.
#import grid
#import storage
struct Params { n: u32, a: u32, b: u32, c: u32, y_start: u32, x_start: u32, m: u32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
#ifdef VEC4
alias E = S4;
#else
alias E = S;
#endif
@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read_write> y: array<E>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.n { return; }
    let at = p.y_start + t;
    let c = at % p.c;
    let row = at / p.c;
    let a = row % p.a;
    let b = row / p.a % p.b;
    let outer = row / (p.a * p.b);
    // A source before x_start wraps to a large number, so one comparison holds both ends.
    let from_x = ((outer * p.a + a) * p.b + b) * p.c + c - p.x_start;
    if from_x < p.m { y[t] = x[from_x]; }
}
