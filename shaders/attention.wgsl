// Attention of every head: o_i = sum_j softmax_j(scale q_i . k_j) v_j, and the row's log-sum-exp for the gradient.
// qkv [B,N,3,H,D] -> o [B,N,H,D] (HALF: f16, as qkv), lse [B,H,N].
// A group takes 64 queries of one head and walks over all keys, 64 at a time: it makes the tile's logits, takes the
// row's maximum over the 16 threads that have it, rescales what it has summed when that grows, and multiplies the
// weights by the values through workgroup memory. The weights are stored nowhere (Dao et al., "FlashAttention", 2022;
// Milakov, Gimelshein, 2018, for the sums).
// Of the columns of a head wider than 64 each chunk is a group's, which makes the weights anew. Grid: B * H * p.tiles *
// p.chunks groups of 256, folded.
// LANES, for drivers that run on CPUs: a thread two queries, which walks over the keys by 16 and has all its sums in
// registers (lib/head_lanes.wgsl); no query or key is made up to fill a tile of 64. B * H * p.tiles groups of 8.
#ifdef LANES
#import head_lanes
#else
#import head_tile
#endif
#ifdef VEC4
@group(0) @binding(1) var<storage, read_write> o: array<S4>;
#else
@group(0) @binding(1) var<storage, read_write> o: array<S>;
#endif
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;

#ifdef LANES
fn largest(s: mat4x4<f32>) -> f32 {
    let four = max(max(s[0], s[1]), max(s[2], s[3]));
    return max(max(four.x, four.y), max(four.z, four.w));
}
fn total_of(s: mat4x4<f32>) -> f32 { return dot(s[0] + s[1] + s[2] + s[3], vec4<f32>(1.0)); }
// Sixteen columns of a query's result from c * 16 on.
fn put16(at: u32, c: u32, v: mat4x4<f32>) {
    var all = v;
    for (var k = 0u; k < 4u; k = k + 1u) { if c * 16u + k * 4u < p.d { o[at / 4u + c * 4u + k] = S4(all[k]); } }
}
@compute @workgroup_size(8)
fn lanes(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let g = group_index(wid, nwg);
    if g >= p.groups { return; }
    let own = place(g);
    let i = vec2<u32>(own.first + lid.x, own.first + lid.x + 8u);
    var most = vec2<f32>(NONE);
    var total = vec2<f32>(0.0);
    var sums_a: array<mat4x4<f32>, C16>;
    var sums_b: array<mat4x4<f32>, C16>;
    for (var j0 = 0u; j0 < p.n; j0 = j0 + 16u) {
        var s = Two(mat4x4<f32>(), mat4x4<f32>());
        for (var c = 0u; c < p.d; c = c + 4u) {
            let k = sixteen(lane, own.k, j0, c);
            let q = four(own.q, i.x, c);
            s = products2(s, q, four(own.q, i.y, c), k);
        }
        s = Two(all_exist(s.a * p.scale2, j0, NONE), all_exist(s.b * p.scale2, j0, NONE));
        let m = max(most, vec2<f32>(largest(s.a), largest(s.b)));
        let shrink = exp2(most - m);
        most = m;
        let w = Two(exp2_of(s.a, 1.0, m.x), exp2_of(s.b, 1.0, m.y));
        total = fma(total, shrink, vec2<f32>(total_of(w.a), total_of(w.b)));
        for (var c = 0u; c < C16; c = c + 1u) {
            let had = Two(sums_a[c] * shrink.x, sums_b[c] * shrink.y);
            let sum = weighted2(had, lane, w, own.v, j0, c * 16u);
            sums_a[c] = sum.a;
            sums_b[c] = sum.b;
        }
    }
    let at = start(own.head) + i * p.heads * p.d;
    let scale = 1.0 / total;
    if i.x < p.n {
        lse[own.head * p.n + i.x] = (most.x + log2(total.x)) / LOG2_E;
        for (var c = 0u; c < C16; c = c + 1u) { put16(at.x, c, sums_a[c] * scale.x); }
    }
    if i.y < p.n {
        lse[own.head * p.n + i.y] = (most.y + log2(total.y)) / LOG2_E;
        for (var c = 0u; c < C16; c = c + 1u) { put16(at.y, c, sums_b[c] * scale.y); }
    }
}
#else
@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let g = group_index(wid, nwg);
    if g >= p.groups { return; }
    let own = place(g);
    let l = lid.x;
    let lb = block_b(l);
    // The first of the 16 threads that have these four queries.
    let row = l / COLS * COLS;
    var most = vec4<f32>(NONE);
    var total = vec4<f32>(0.0);
    var sums: Sums;
    for (var j0 = 0u; j0 < p.n; j0 = j0 + 64u) {
        var s = pairs(own.q, own.first, own.k, j0, l);
        let valid = exist(j0 + (l % COLS) * 4u);
        var m = most;
        for (var ii = 0u; ii < 4u; ii = ii + 1u) {
            s[ii] = select(vec4<f32>(NONE), s[ii] * p.scale2, valid);
            m[ii] = max(max(m[ii], max(s[ii].x, s[ii].y)), max(s[ii].z, s[ii].w));
        }
        tile_a[l] = m;
        workgroupBarrier();
        for (var t = 0u; t < COLS; t = t + 1u) { m = max(m, tile_a[row + t]); }
        workgroupBarrier();
        let shrink = exp2(most - m);
        most = m;
        for (var ii = 0u; ii < 4u; ii = ii + 1u) {
            s[ii] = exp2(s[ii] - vec4<f32>(m[ii]));
            total[ii] = total[ii] * shrink[ii] + dot(s[ii], vec4<f32>(1.0));
            sums.a[ii] = sums.a[ii] * shrink[ii];
        }
        // 16 keys at a time: those of 4 threads of each row of threads.
        let w = transpose(s);
        for (var k0 = 0u; k0 < min(64u, p.n - j0); k0 = k0 + TILE_K) {
            if (l % COLS) / 4u == k0 / TILE_K { put_a(l / COLS, l % 4u, w); }
            let from_j = j0 + k0 + (lb / 16u) * 4u;
            if lb < TILE_N { put_b(lb % 16u, lb / 16u, along(own.v, from_j, own.column + (lb % 16u) * 4u)); }
            workgroupBarrier();
            tile_multiply(&sums, l);
            workgroupBarrier();
        }
    }
    // Of the 16 threads, in order.
    tile_a[l] = total;
    workgroupBarrier();
    total = vec4<f32>(0.0);
    for (var t = 0u; t < COLS; t = t + 1u) { total = total + tile_a[row + t]; }
    let c = own.column + (l % COLS) * 4u;
    for (var ii = 0u; ii < 4u; ii = ii + 1u) {
        let i = own.first + (l / COLS) * 4u + ii;
        if i >= p.n { break; }
        if own.column == 0u && l == row { lse[own.head * p.n + i] = (most[ii] + log2(total[ii])) / LOG2_E; }
        let v = sums.a[ii] / total[ii];
        let at = start(own.head) + i * p.heads * p.d + c;
#ifdef VEC4
        if c < p.d { o[at / 4u] = S4(v); }
#else
        for (var jj = 0u; jj < 4u; jj = jj + 1u) { if c + jj < p.d { o[at + jj] = S(v[jj]); } }
#endif
    }
}
#endif
