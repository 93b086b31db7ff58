// y[n,c] = 1/S sum_s x[n,s,c], S = height*width: sums over the rows of each image (lib/channels.wgsl, an image a run
// of p.rows = S rows of [N*S,C]).
// A thread adds its rows in order, the threads of a column are added in a tree. HALF: x lies in f16.
// Grid: N * p.blocks groups, folded.
#import channels
@group(0) @binding(0) var<storage, read> x: array<X>;
@group(0) @binding(1) var<storage, read_write> y: array<E>;
var<workgroup> lanes: array<E, 256>;
@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let group = group_index(wid, nwg);
    if group >= p.groups { return; }
    let l = lid.x;
    let w = walk(group, l);
    var sum = E(0.0);
    var i = w.at;
    var k = 0u;
    var v: array<X, FLIGHT>;
    for (; k + FLIGHT <= w.count; k = k + FLIGHT) {
        for (var u = 0u; u < FLIGHT; u = u + 1u) { v[u] = x[i + u * w.step]; }
        var t = E(0.0);
        for (var u = 0u; u < FLIGHT; u = u + 1u) { t = t + E(v[u]); }
        sum = sum + t;
        i = i + FLIGHT * w.step;
    }
    for (; k < w.count; k = k + 1u) {
        sum = sum + E(x[i]);
        i = i + w.step;
    }
    lanes[l] = sum;
    workgroupBarrier();
    for (var n = 256u / p.lanes; n > 1u; n = (n + 1u) / 2u) {
        let h = (n + 1u) / 2u;
        if w.lane + h < n { lanes[l] = lanes[l] + lanes[l + h * p.lanes]; }
        workgroupBarrier();
    }
    if w.lane == 0u && w.column < p.c { y[w.run * p.c + w.column] = lanes[l] * p.inv_m; }
}
