// y = x[micro part .. (micro + 1) part], flattened, micro = step.micro: a micro-batch's share of what a batch holds.
// A dispatch binds y's elements from y_start on (n of them) and x's from x_start on (m of them), and writes only what
// has its source there: so tensors may exceed a binding.
// A thread an element of y. Grid: ceil(n/64), folded.
#import grid
#import step
struct Params { n: u32, part: u32, y_start: u32, x_start: u32, m: u32, r0: u32, r1: u32, r2: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.n { return; }
    // A source before x_start wraps to a large number, so one comparison holds both ends.
    let source = step.micro * p.part + p.y_start + t - p.x_start;
    if source < p.m { y[t] = x[source]; }
}
