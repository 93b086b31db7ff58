// Pairs of rows of one head, 64 x 64 at a time, for the streamed AMCL loss, its gradient and its selection
// (top_k_stream); mirrors ops/amcl_stream.rs.
// z [heads,A,D] unit rows, feature [heads or 1,A,D]: similarities z z^T and products feature feature^T of a tile are
// made where they are used and stored nowhere. A pair's score is its product x or, CENTRED, gain (x - mean) + p.centre,
// mean [heads or 1] that of the head.
// VEC4: D is a multiple of 4.
#import pair_params
#ifdef VEC4
@group(0) @binding(0) var<storage, read> z: array<vec4<f32>>;
#else
@group(0) @binding(0) var<storage, read> z: array<f32>;
#endif
#ifdef ADAPTIVE
#ifdef VEC4
@group(0) @binding(1) var<storage, read> feature: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> feature: array<f32>;
#endif
#endif
#ifdef CENTRED
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
fn mean_of(head: u32) -> f32 { return mean[min(p.head0 + head, p.score_heads - 1u)]; }
#endif
#import tile
#import candidates
#import temperature

// Columns kk = 0..3: z[row0..row0+4, k0+kk] of the head that starts at `base`; zero behind the last value.
fn rows_z(base: u32, row0: u32, k0: u32) -> mat4x4<f32> {
    var block: mat4x4<f32>;
    for (var i = 0u; i < 4u; i = i + 1u) {
        let at = base + min(row0 + i, p.a - 1u) * p.d;
#ifdef VEC4
        block[i] = select(vec4<f32>(0.0), z[(at + min(k0, p.d - 4u)) / 4u], k0 < p.d);
#else
        let k = vec4<u32>(k0, k0 + 1u, k0 + 2u, k0 + 3u);
        let c = min(k, vec4<u32>(p.d - 1u));
        block[i] = select(vec4<f32>(0.0), vec4<f32>(z[at + c.x], z[at + c.y], z[at + c.z], z[at + c.w]),
            k < vec4<u32>(p.d));
#endif
    }
    return transpose(block);
}
// 64 x 64 products of rows i0.. and j0.. of z: a thread's 4x4, columns of the result for rows.
fn similarities(base: u32, i0: u32, j0: u32, l: u32) -> mat4x4<f32> {
    let lb = block_b(l);
    var sums: Sums;
    for (var k0 = 0u; k0 < p.d; k0 = k0 + TILE_K) {
        if l < TILE_M { put_a(l / 4u, l % 4u, rows_z(base, i0 + (l / 4u) * 4u, k0 + (l % 4u) * 4u)); }
        if lb < TILE_N { put_b(lb / 4u, lb % 4u, rows_z(base, j0 + (lb / 4u) * 4u, k0 + (lb % 4u) * 4u)); }
        workgroupBarrier();
        tile_multiply(&sums, l);
        workgroupBarrier();
    }
    return sums.a;
}
#ifdef ADAPTIVE
fn rows_f(base: u32, row0: u32, k0: u32) -> mat4x4<f32> {
    var block: mat4x4<f32>;
    for (var i = 0u; i < 4u; i = i + 1u) {
        let at = base + min(row0 + i, p.a - 1u) * p.d;
#ifdef VEC4
        block[i] = select(vec4<f32>(0.0), feature[(at + min(k0, p.d - 4u)) / 4u], k0 < p.d);
#else
        let k = vec4<u32>(k0, k0 + 1u, k0 + 2u, k0 + 3u);
        let c = min(k, vec4<u32>(p.d - 1u));
        block[i] = select(vec4<f32>(0.0),
            vec4<f32>(feature[at + c.x], feature[at + c.y], feature[at + c.z], feature[at + c.w]), k < vec4<u32>(p.d));
#endif
    }
    return transpose(block);
}
// The score of a pair of head `head`, from the product x of its features.
fn score(head: u32, x: f32) -> f32 {
#ifdef CENTRED
    return gain[0] * (x - mean_of(head)) + p.centre;
#else
    return x;
#endif
}
// 64 x 64 products of rows i0.. and j0.. of the features, as `similarities` has those of z.
fn products(base: u32, i0: u32, j0: u32, l: u32) -> mat4x4<f32> {
    let lb = block_b(l);
    var sums: Sums;
    for (var k0 = 0u; k0 < p.d; k0 = k0 + TILE_K) {
        if l < TILE_M { put_a(l / 4u, l % 4u, rows_f(base, i0 + (l / 4u) * 4u, k0 + (l % 4u) * 4u)); }
        if lb < TILE_N { put_b(lb / 4u, lb % 4u, rows_f(base, j0 + (lb / 4u) * 4u, k0 + (lb % 4u) * 4u)); }
        workgroupBarrier();
        tile_multiply(&sums, l);
        workgroupBarrier();
    }
    return sums.a;
}
#endif
