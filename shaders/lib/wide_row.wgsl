// Rows of D numbers, a group of 64 threads a row, whose values stay in registers: thread l has elements l, l + 64, ...
// of a row, KEEP (define) of them at most. An element E is four numbers where D is a multiple of 4 (VEC4), else one.
// Mirrors ops/layer_norm.rs, for_width.
#import grid
#ifdef VEC4
alias E = vec4<f32>;
const WIDE: u32 = 4u;
fn across(v: vec4<f32>) -> f32 { return (v.x + v.y) + (v.z + v.w); }
#else
alias E = f32;
const WIDE: u32 = 1u;
fn across(v: f32) -> f32 { return v; }
#endif
var<workgroup> lane: array<vec2<f32>, 64>;
// Two sums over the group, in a tree: the same order every time.
fn row_sums(l: u32, v: vec2<f32>) -> vec2<f32> {
    workgroupBarrier();
    lane[l] = v;
    workgroupBarrier();
    for (var h = 32u; h > 0u; h = h / 2u) {
        if l < h { lane[l] = lane[l] + lane[l + h]; }
        workgroupBarrier();
    }
    return lane[0];
}
