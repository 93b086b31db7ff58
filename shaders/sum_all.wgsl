// y = sum_i f(x_i), f = identity, or the square with SQUARE.
// Two passes in a fixed order. `partial`: group g sums elements [4096 g, 4096 (g+1)) into part[first + g]; 64 threads
// stride, then a tree.
// `total`: one group sums the parts the same way. Grid: ceil(n / 4096) groups, then 1.
#import grid
struct Params { n: u32, groups: u32, first: u32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
var<workgroup> lane: array<f32, 64>;

fn f(v: f32) -> f32 {
#ifdef SQUARE
    return v * v;
#else
    return v;
#endif
}

fn tree(l: u32, v: f32) {
    lane[l] = v;
    workgroupBarrier();
    for (var h = 32u; h > 0u; h = h / 2u) {
        if l < h { lane[l] = lane[l] + lane[l + h]; }
        workgroupBarrier();
    }
}

@compute @workgroup_size(64)
fn partial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let g = group_index(wid, nwg);
    if g >= p.groups { return; }
    let end = min(p.n, (g + 1u) * 4096u);
    var s = 0.0;
    for (var i = g * 4096u + lid.x; i < end; i = i + 64u) { s = s + f(x[i]); }
    tree(lid.x, s);
    if lid.x == 0u { y[p.first + g] = lane[0]; }
}

@compute @workgroup_size(64)
fn total(@builtin(local_invocation_id) lid: vec3<u32>) {
    var s = 0.0;
    for (var i = lid.x; i < p.n; i = i + 64u) { s = s + x[i]; }
    tree(lid.x, s);
    if lid.x == 0u { y[0] = lane[0]; }
}
