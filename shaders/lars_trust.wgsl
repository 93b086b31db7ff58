// LARS's trust ratio of every segment (parameter tensor) of a flat group:
//   trust = eta |w| / (|g| + wd |w| + 1e-8), 1 where |w| or |g| is zero, or where the table's entry is negative
//   (excluded). With OF_STEP the divisor is |g + wd w|.
// `partial`: a thread a block of 64 elements makes (sum w^2, sum g^2; with OF_STEP sum (g + wd w)^2).
// `combine`: a group a segment adds its blocks:
// 64 threads stride, then a tree.
// table[s] = (lr multiplier, weight decay, entry, 0) -> out[s] = (lr multiplier, weight decay, trust, 0).
// Grid: partial ceil(blocks / 64), combine one group a segment, folded.
#import grid
struct Params { blocks: u32, segments: u32, first: u32, eta: f32 }
@group(1) @binding(0) var<uniform> p: Params;
#ifdef PARTIAL
@group(0) @binding(0) var<storage, read> grad: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> part: array<vec2<f32>>;
#ifdef OF_STEP
@group(0) @binding(3) var<storage, read> segment: array<u32>;
@group(0) @binding(4) var<storage, read> table: array<vec4<f32>>;
#endif
@compute @workgroup_size(64)
fn partial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let b = group_index(wid, nwg) * 64u + lid.x;
    if b >= p.blocks { return; }
#ifdef OF_STEP
    let decay = table[segment[p.first + b]].y;
#endif
    var ww = vec4<f32>(0.0);
    var gg = vec4<f32>(0.0);
    for (var i = 0u; i < 16u; i = i + 1u) {
        let a = w[b * 16u + i];
#ifdef OF_STEP
        let g = fma(vec4<f32>(decay), a, grad[b * 16u + i]);
#else
        let g = grad[b * 16u + i];
#endif
        ww = fma(a, a, ww);
        gg = fma(g, g, gg);
    }
    part[p.first + b] = vec2<f32>((ww.x + ww.y) + (ww.z + ww.w), (gg.x + gg.y) + (gg.z + gg.w));
}
#else
@group(0) @binding(0) var<storage, read> part: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> segment: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;
var<workgroup> lane: array<vec2<f32>, 64>;
@compute @workgroup_size(64)
fn combine(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let s = group_index(wid, nwg);
    if s >= p.segments { return; }
    let l = lid.x;
    var sum = vec2<f32>(0.0);
    for (var b = l; b < p.blocks; b = b + 64u) {
        if segment[b] == s { sum = sum + part[b]; }
    }
    lane[l] = sum;
    workgroupBarrier();
    for (var h = 32u; h > 0u; h = h / 2u) {
        if l < h { lane[l] = lane[l] + lane[l + h]; }
        workgroupBarrier();
    }
    if l == 0u {
        let row = table[s];
        let n = sqrt(lane[0]);
        var trust = 1.0;
#ifdef OF_STEP
        let size = n.y;
#else
        let size = n.y + row.y * n.x + 1e-8;
#endif
        if row.z >= 0.0 && n.x > 0.0 && n.y > 0.0 { trust = p.eta * n.x / size; }
        out[s] = vec4<f32>(row.x, row.y, trust, 0.0);
    }
}
#endif
