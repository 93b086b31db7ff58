// The weights of one token, number TOKEN, for all tokens: w_j = exp(scale q . k_j - m) / sum_j exp(scale q . k_j - m),
// m the row's largest logit. qkv [B,N,3,H,D] -> w [B,H,N], the matrix's row that attention.wgsl does not store.
// p.d is N, p.a the logits' factor; HEADS and WIDTH (defines) are H and D. A thread has every 64th token and reads only
// what it has written. Grid: a group a head of an image, folded (lib/row.wgsl).
#import row
@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> w: array<f32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let row = group_index(wid, nwg);
    if row >= p.rows { return; }
    let l = lid.x;
    let at = row * p.d;
    let stride = 3u * HEADS * WIDTH;
    let first = row / HEADS * p.d * stride + row % HEADS * WIDTH;
    let q = first + TOKEN * stride;
    var m = -3.0e38;
    for (var j = l; j < p.d; j = j + 64u) {
        let k = first + j * stride + HEADS * WIDTH;
        var s = 0.0;
        for (var c = 0u; c < WIDTH; c = c + 1u) { s = fma(qkv[q + c], qkv[k + c], s); }
        s = s * p.a;
        w[at + j] = s;
        m = max(m, s);
    }
    m = row_max(l, m);
    var s = 0.0;
    for (var j = l; j < p.d; j = j + 64u) { s = s + exp(w[at + j] - m); }
    let inv = 1.0 / row_sum(l, s);
    for (var j = l; j < p.d; j = j + 64u) { w[at + j] = exp(w[at + j] - m) * inv; }
}
