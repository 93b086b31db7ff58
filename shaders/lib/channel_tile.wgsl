// Pairs of channels of one head, 64 x 64 at a time, for the streamed loss of Barlow Twins and its gradient; mirrors
// ops/barlow_stream.rs.
// x, y [heads,N,D] standardised columns of the two views, fx, fy [heads or 1,D,F] phi's features of the channels:
// correlations x^T y / N and scores fx fy^T of a tile are made where they are used and stored nowhere. VEC4: D is a
// multiple of 4; VEC4_F: F is. A dispatch covers p.heads heads from the start of the bound slices, which is element
// off_x, off_f, off_row; of their channels (rows of the tiles) it takes p.tiles times 64 from 64 * p.first on.
struct Params {
    d: u32, n: u32, f: u32, heads: u32,
    chunks: u32, accumulate: u32, by_column: u32, first: u32,
    tiles: u32, off_x: u32, off_f: u32, off_row: u32,
    adaptive_on: u32, adaptive_off: u32, tau_on: f32, tau_off: f32,
    lambda: f32, beta: f32, eta: f32, iota: f32,
    half_d: f32, inv_n: f32, r0: u32, r1: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
#ifdef VEC4
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> y: array<vec4<f32>>;
#else
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
#endif
#ifdef ADAPTIVE
#ifdef VEC4_F
@group(0) @binding(2) var<storage, read> fx: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> fy: array<vec4<f32>>;
#else
@group(0) @binding(2) var<storage, read> fx: array<f32>;
@group(0) @binding(3) var<storage, read> fy: array<f32>;
#endif
#import temperature
#endif
#import tile

// Columns kk = 0..3: x[n0+kk, c0..c0+4] of the head that starts at `base`; zero behind the last sample, any value
// behind the last channel.
fn load_x(base: u32, n0: u32, c0: u32) -> mat4x4<f32> {
    var block: mat4x4<f32>;
    for (var k = 0u; k < 4u; k = k + 1u) {
        let at = base + min(n0 + k, p.n - 1u) * p.d;
#ifdef VEC4
        block[k] = select(vec4<f32>(0.0), x[(at + min(c0, p.d - 4u)) / 4u], n0 + k < p.n);
#else
        let c = min(vec4<u32>(c0, c0 + 1u, c0 + 2u, c0 + 3u), vec4<u32>(p.d - 1u));
        block[k] = select(vec4<f32>(0.0), vec4<f32>(x[at + c.x], x[at + c.y], x[at + c.z], x[at + c.w]), n0 + k < p.n);
#endif
    }
    return block;
}
fn load_y(base: u32, n0: u32, c0: u32) -> mat4x4<f32> {
    var block: mat4x4<f32>;
    for (var k = 0u; k < 4u; k = k + 1u) {
        let at = base + min(n0 + k, p.n - 1u) * p.d;
#ifdef VEC4
        block[k] = select(vec4<f32>(0.0), y[(at + min(c0, p.d - 4u)) / 4u], n0 + k < p.n);
#else
        let c = min(vec4<u32>(c0, c0 + 1u, c0 + 2u, c0 + 3u), vec4<u32>(p.d - 1u));
        block[k] = select(vec4<f32>(0.0), vec4<f32>(y[at + c.x], y[at + c.y], y[at + c.z], y[at + c.w]), n0 + k < p.n);
#endif
    }
    return block;
}
// 64 x 64 products, over N, of channels i0.. of x and j0.. of y: a thread's 4x4, columns of the result for channels
// of x.
fn correlations(base: u32, i0: u32, j0: u32, l: u32) -> mat4x4<f32> {
    let lb = block_b(l);
    var sums: Sums;
    for (var k0 = 0u; k0 < p.n; k0 = k0 + TILE_K) {
        if l < TILE_M { put_a(l % 16u, l / 16u, load_x(base, k0 + (l / 16u) * 4u, i0 + (l % 16u) * 4u)); }
        if lb < TILE_N { put_b(lb % 16u, lb / 16u, load_y(base, k0 + (lb / 16u) * 4u, j0 + (lb % 16u) * 4u)); }
        workgroupBarrier();
        tile_multiply(&sums, l);
        workgroupBarrier();
    }
    return sums.a * p.inv_n;
}
#ifdef ADAPTIVE
// Columns kk = 0..3: fx[c0+kk, k0..k0+4] of the head that starts at `base`; zero behind the last feature, any value
// behind the last channel.
fn load_fx(base: u32, c0: u32, k0: u32) -> mat4x4<f32> {
    var block: mat4x4<f32>;
    for (var k = 0u; k < 4u; k = k + 1u) {
        let at = base + min(c0 + k, p.d - 1u) * p.f;
#ifdef VEC4_F
        block[k] = select(vec4<f32>(0.0), fx[(at + min(k0, p.f - 4u)) / 4u], k0 < p.f);
#else
        let w = vec4<u32>(k0, k0 + 1u, k0 + 2u, k0 + 3u);
        let c = min(w, vec4<u32>(p.f - 1u));
        block[k] = select(vec4<f32>(0.0), vec4<f32>(fx[at + c.x], fx[at + c.y], fx[at + c.z], fx[at + c.w]),
            w < vec4<u32>(p.f));
#endif
    }
    return block;
}
fn load_fy(base: u32, c0: u32, k0: u32) -> mat4x4<f32> {
    var block: mat4x4<f32>;
    for (var k = 0u; k < 4u; k = k + 1u) {
        let at = base + min(c0 + k, p.d - 1u) * p.f;
#ifdef VEC4_F
        block[k] = select(vec4<f32>(0.0), fy[(at + min(k0, p.f - 4u)) / 4u], k0 < p.f);
#else
        let w = vec4<u32>(k0, k0 + 1u, k0 + 2u, k0 + 3u);
        let c = min(w, vec4<u32>(p.f - 1u));
        block[k] = select(vec4<f32>(0.0), vec4<f32>(fy[at + c.x], fy[at + c.y], fy[at + c.z], fy[at + c.w]),
            w < vec4<u32>(p.f));
#endif
    }
    return block;
}
fn scores(base: u32, i0: u32, j0: u32, l: u32) -> mat4x4<f32> {
    let lb = block_b(l);
    var sums: Sums;
    for (var k0 = 0u; k0 < p.f; k0 = k0 + TILE_K) {
        if l < TILE_M { put_a(l / 4u, l % 4u, transpose(load_fx(base, i0 + (l / 4u) * 4u, k0 + (l % 4u) * 4u))); }
        if lb < TILE_N { put_b(lb / 4u, lb % 4u, transpose(load_fy(base, j0 + (lb / 4u) * 4u, k0 + (lb % 4u) * 4u))); }
        workgroupBarrier();
        tile_multiply(&sums, l);
        workgroupBarrier();
    }
    return sums.a;
}
#endif
