// Votes of each row's K neighbours for C classes: y[row, c] = sum over i with label[row, i] = c of w_i. A label of C
// or more votes for none.
// COSINE (Wu et al., CVPR 2018): v = similarity, w_i = exp((v_i - max_j v_j) / t); the row's maximum takes a factor
// out of all votes alike, so that a small t overflows nothing; of values with a NaN it is the NaN.
// Else (scikit-learn's weights="distance", as solo-learn has it): v = squared distance, w_i = 1 / (sqrt(v_i) + 1e-8).
// v and label [rows, K], y [rows, C]; K = p.k, C = p.classes, p.per_t = 1 / t. Neighbours are summed in order. A
// thread an output. Grid: ceil(rows C / 64) groups, folded.
#import grid
#import nan
struct Params { k: u32, classes: u32, total: u32, per_t: f32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> v: array<f32>;
@group(0) @binding(1) var<storage, read> label: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let at = t / p.classes * p.k;
    let c = t % p.classes;
    var s = 0.0;
#ifdef COSINE
    var top = v[at];
    for (var i = 0u; i < p.k; i = i + 1u) {
        top = max(top, v[at + i]);
        if is_nan(v[at + i]) {
            top = v[at + i];
            break;
        }
    }
    for (var i = 0u; i < p.k; i = i + 1u) {
        s = s + select(0.0, exp_or_nan((v[at + i] - top) * p.per_t), label[at + i] == c);
    }
#else
    for (var i = 0u; i < p.k; i = i + 1u) { s = s + select(0.0, 1.0 / (sqrt(v[at + i]) + 1e-8), label[at + i] == c); }
#endif
    y[t] = s;
}
