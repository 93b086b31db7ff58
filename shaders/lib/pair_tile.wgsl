// Pairs of rows of one head, 64 x 64 at a time, for the streamed AMCL loss, its gradient and its selection
// (top_k_stream); mirrors ops/amcl_stream.rs.
// z [heads,A,D] unit rows, feature [heads or 1,A,D]: similarities z z^T and scores feature feature^T of a tile are
// made where they are used and stored nowhere.
// VEC4: D is a multiple of 4. A dispatch covers p.heads heads from the start of the bound slices, which is element
// off_z, off_f, off_row; of their anchors it takes p.tiles times 64 from p.first on, but none behind p.end. Results are
// of p.own anchors a head, from off_own_z, off_own_f, off_own on: anchor i is the one with number i - p.shift.
struct Params {
    a: u32, d: u32, heads: u32, chunks: u32,
    off_z: u32, off_f: u32, off_row: u32, accumulate: u32,
    arrangement: u32, include_positive: u32, adaptive_pos: u32, adaptive_neg: u32,
    tau_const: f32, beta: f32, eta: f32, iota: f32,
    half_d: f32, first: u32, tiles: u32, kappa: u32,
    warmup: u32, official_sum: u32, end: u32, shift: u32,
    own: u32, off_own_z: u32, off_own_f: u32, off_own: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
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
fn scores(base: u32, i0: u32, j0: u32, l: u32) -> mat4x4<f32> {
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
