// Gradient of attention.wgsl from g = do [B,N,H,D] (f32) and what was kept, o and lse [B,H,N]: dqkv [B,N,3,H,D], f32.
//   D_i = g_i . o_i,  P_ij = exp(scale q_i . k_j - lse_i),  S_ij = P_ij (g_i . v_j - D_i)
//   dq_i = scale sum_j S_ij k_j,  dk_j = scale sum_i S_ij q_i,  dv_j = sum_i P_ij g_i
// INNER: D_i alone, inner [B,H,N], a thread a query and head. Grid: ceil(B N H / 64) groups.
// QUERIES: a group takes 64 queries of a head and walks over all keys, 64 at a time: dq.
// KEYS: a group takes 64 keys and walks over all queries: dk and dv. A sum is made by one thread in a fixed order, so
// that no atomics are needed; the logits are made once by each of the two.
// Grid of both: B * H * p.tiles * p.chunks groups of 256, folded (lib/head_tile.wgsl). HALF: qkv and o lie in f16.
// LANES, for drivers that run on CPUs: both with a thread two queries or keys, which walks over the others by 16; B * H *
// p.tiles groups of 8 (lib/head_lanes.wgsl).
#ifdef INNER
#import grid
#import storage
struct Params {
    n: u32, d: u32, heads: u32, groups: u32,
    tiles: u32, chunks: u32, scale: f32, scale2: f32,
}
@group(1) @binding(0) var<uniform> p: Params;
#ifdef VEC4
alias E = vec4<f32>;
alias X = S4;
const WIDE: u32 = 4u;
fn across(v: vec4<f32>) -> f32 { return (v.x + v.y) + (v.z + v.w); }
#else
alias E = f32;
alias X = S;
const WIDE: u32 = 1u;
fn across(v: f32) -> f32 { return v; }
#endif
@group(0) @binding(0) var<storage, read> dout: array<E>;
@group(0) @binding(1) var<storage, read> o: array<X>;
@group(0) @binding(2) var<storage, read_write> inner: array<f32>;
@compute @workgroup_size(64)
fn products(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    // p.groups counts images here.
    if t >= p.groups * p.n * p.heads { return; }
    let width = p.d / WIDE;
    var s = E(0.0);
    for (var c = 0u; c < width; c = c + 1u) { s = fma(dout[t * width + c], E(o[t * width + c]), s); }
    let token = t / p.heads;
    inner[(token / p.n * p.heads + t % p.heads) * p.n + token % p.n] = across(s);
}
#else
#ifdef LANES
#import head_lanes
#else
#import head_tile
#endif
#ifdef VEC4
@group(0) @binding(1) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dqkv: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> dout: array<f32>;
@group(0) @binding(4) var<storage, read_write> dqkv: array<f32>;
#endif
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> inner: array<f32>;

// `four`, of dout.
fn four_g(at: u32, token: u32, c: u32) -> vec4<f32> {
    let from_row = at + min(token, p.n - 1u) * p.heads * p.d;
#ifdef VEC4
    return select(vec4<f32>(0.0), dout[(from_row + min(c, p.d - 4u)) / 4u], c < p.d);
#else
    let k = vec4<u32>(c, c + 1u, c + 2u, c + 3u);
    let i = from_row + min(k, vec4<u32>(p.d - 1u));
    return select(vec4<f32>(0.0), vec4<f32>(dout[i.x], dout[i.y], dout[i.z], dout[i.w]), k < vec4<u32>(p.d));
#endif
}
#ifdef LANES
// lse in powers of two of a query, and D.
fn row_of(head: u32, i: u32) -> vec2<f32> {
    let at = head * p.n + min(i, p.n - 1u);
    return vec2<f32>(lse[at] * LOG2_E, inner[at]);
}
fn put16(at: u32, c: u32, v: mat4x4<f32>) {
    var all = v;
    for (var k = 0u; k < 4u; k = k + 1u) { if c * 16u + k * 4u < p.d { dqkv[at / 4u + c * 4u + k] = all[k]; } }
}
// S = P (dP - D), of 16 pairs.
fn score_grads(weight: mat4x4<f32>, up: mat4x4<f32>, inner: mat4x4<f32>) -> mat4x4<f32> {
    let a = weight[0] * (up[0] - inner[0]);
    let b = weight[1] * (up[1] - inner[1]);
    return mat4x4<f32>(a, b, weight[2] * (up[2] - inner[2]), weight[3] * (up[3] - inner[3]));
}
#ifdef KEYS
fn weights_of(s: mat4x4<f32>, lse: mat4x4<f32>) -> mat4x4<f32> {
    let a = exp2(s[0] * p.scale2 - lse[0]);
    let b = exp2(s[1] * p.scale2 - lse[1]);
    return mat4x4<f32>(a, b, exp2(s[2] * p.scale2 - lse[2]), exp2(s[3] * p.scale2 - lse[3]));
}
@compute @workgroup_size(8)
fn keys_lanes(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let group = group_index(wid, nwg);
    if group >= p.groups { return; }
    let own = place(group);
    let j = vec2<u32>(own.first + lid.x, own.first + lid.x + 8u);
    let g = start(own.head);
    var dk_a: array<mat4x4<f32>, C16>;
    var dk_b: array<mat4x4<f32>, C16>;
    var dv_a: array<mat4x4<f32>, C16>;
    var dv_b: array<mat4x4<f32>, C16>;
    for (var i0 = 0u; i0 < p.n; i0 = i0 + 16u) {
        var s = Two(mat4x4<f32>(), mat4x4<f32>());
        var dp = Two(mat4x4<f32>(), mat4x4<f32>());
        for (var c = 0u; c < p.d; c = c + 4u) {
            let q = sixteen(lane, own.q, i0, c);
            let up = sixteen(lane, g, i0, c | SECOND);
            let k = four(own.k, j.x, c);
            s = products2(s, k, four(own.k, j.y, c), q);
            let v = four(own.v, j.x, c);
            dp = products2(dp, v, four(own.v, j.y, c), up);
        }
        var lse16 = mat4x4<f32>();
        var inner16 = mat4x4<f32>();
        for (var k = 0u; k < 4u; k = k + 1u) {
            let a = row_of(own.head, i0 + k * 4u);
            let b = row_of(own.head, i0 + k * 4u + 1u);
            let c = row_of(own.head, i0 + k * 4u + 2u);
            let d = row_of(own.head, i0 + k * 4u + 3u);
            lse16[k] = vec4<f32>(a.x, b.x, c.x, d.x);
            inner16[k] = vec4<f32>(a.y, b.y, c.y, d.y);
        }
        // A query that does not exist has no weight.
        let w = Two(all_exist(weights_of(s.a, lse16), i0, 0.0), all_exist(weights_of(s.b, lse16), i0, 0.0));
        let ds = Two(score_grads(w.a, dp.a, inner16), score_grads(w.b, dp.b, inner16));
        for (var c = 0u; c < C16; c = c + 1u) {
            let dv = weighted2(Two(dv_a[c], dv_b[c]), lane, w, g, i0, (c * 16u) | SECOND);
            dv_a[c] = dv.a;
            dv_b[c] = dv.b;
            let dk = weighted2(Two(dk_a[c], dk_b[c]), lane, ds, own.q, i0, c * 16u);
            dk_a[c] = dk.a;
            dk_b[c] = dk.b;
        }
    }
    let row = j * 3u * p.heads * p.d;
    for (var c = 0u; c < C16; c = c + 1u) {
        if j.x < p.n {
            put16(own.k + row.x, c, dk_a[c] * p.scale);
            put16(own.v + row.x, c, dv_a[c]);
        }
        if j.y < p.n {
            put16(own.k + row.y, c, dk_b[c] * p.scale);
            put16(own.v + row.y, c, dv_b[c]);
        }
    }
}
#else
@compute @workgroup_size(8)
fn queries_lanes(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let group = group_index(wid, nwg);
    if group >= p.groups { return; }
    let own = place(group);
    let i = vec2<u32>(own.first + lid.x, own.first + lid.x + 8u);
    let g = start(own.head);
    let of_a = row_of(own.head, i.x);
    let of_b = row_of(own.head, i.y);
    let inner_a = all16(of_a.y);
    let inner_b = all16(of_b.y);
    var dq_a: array<mat4x4<f32>, C16>;
    var dq_b: array<mat4x4<f32>, C16>;
    for (var j0 = 0u; j0 < p.n; j0 = j0 + 16u) {
        var s = Two(mat4x4<f32>(), mat4x4<f32>());
        var dp = Two(mat4x4<f32>(), mat4x4<f32>());
        for (var c = 0u; c < p.d; c = c + 4u) {
            let k = sixteen(lane, own.k, j0, c);
            let v = sixteen(lane, own.v, j0, c);
            let q = four(own.q, i.x, c);
            s = products2(s, q, four(own.q, i.y, c), k);
            let up = four_g(g, i.x, c);
            dp = products2(dp, up, four_g(g, i.y, c), v);
        }
        let w_a = all_exist(exp2_of(s.a, p.scale2, of_a.x), j0, 0.0);
        let w_b = all_exist(exp2_of(s.b, p.scale2, of_b.x), j0, 0.0);
        let ds = Two(score_grads(w_a, dp.a, inner_a), score_grads(w_b, dp.b, inner_b));
        for (var c = 0u; c < C16; c = c + 1u) {
            let dq = weighted2(Two(dq_a[c], dq_b[c]), lane, ds, own.k, j0, c * 16u);
            dq_a[c] = dq.a;
            dq_b[c] = dq.b;
        }
    }
    let row = i * 3u * p.heads * p.d;
    for (var c = 0u; c < C16; c = c + 1u) {
        if i.x < p.n { put16(own.q + row.x, c, dq_a[c] * p.scale); }
        if i.y < p.n { put16(own.q + row.y, c, dq_b[c] * p.scale); }
    }
}
fn all16(x: f32) -> mat4x4<f32> {
    let v = vec4<f32>(x);
    return mat4x4<f32>(v, v, v, v);
}
#endif
#else
fn along_g(at: u32, token: u32, c: u32) -> mat4x4<f32> {
    let a = four_g(at, token, c);
    let b = four_g(at, token + 1u, c);
    return mat4x4<f32>(a, b, four_g(at, token + 2u, c), four_g(at, token + 3u, c));
}
// g_i . v_j of 64 queries and 64 keys; columns of the result for the operand that the group owns.
fn upstream(own: Place, i0: u32, j0: u32, l: u32) -> mat4x4<f32> {
    let lb = block_b(l);
    let g = start(own.head);
    var sums: Sums;
    for (var k0 = 0u; k0 < p.d; k0 = k0 + TILE_K) {
#ifdef KEYS
        if l < TILE_M { put_a(l / 4u, l % 4u, transpose(along(own.v, j0 + (l / 4u) * 4u, k0 + (l % 4u) * 4u))); }
        if lb < TILE_N { put_b(lb / 4u, lb % 4u, transpose(along_g(g, i0 + (lb / 4u) * 4u, k0 + (lb % 4u) * 4u))); }
#else
        if l < TILE_M { put_a(l / 4u, l % 4u, transpose(along_g(g, i0 + (l / 4u) * 4u, k0 + (l % 4u) * 4u))); }
        if lb < TILE_N { put_b(lb / 4u, lb % 4u, transpose(along(own.v, j0 + (lb / 4u) * 4u, k0 + (lb % 4u) * 4u))); }
#endif
        workgroupBarrier();
        tile_multiply(&sums, l);
        workgroupBarrier();
    }
    return sums.a;
}
// lse in powers of two, and D, of four queries of the head.
struct Rows { lse: vec4<f32>, inner: vec4<f32> }
fn rows(head: u32, i: u32) -> Rows {
    let at = head * p.n + min(vec4<u32>(i, i + 1u, i + 2u, i + 3u), vec4<u32>(p.n - 1u));
    let sums = vec4<f32>(lse[at.x], lse[at.y], lse[at.z], lse[at.w]);
    return Rows(sums * LOG2_E, vec4<f32>(inner[at.x], inner[at.y], inner[at.z], inner[at.w]));
}
// Rows of a thread's 4x4 of a result, from `first` on, columns of the group's chunk.
fn put(at: u32, own: Place, l: u32, sums: mat4x4<f32>) {
    let c = own.column + (l % COLS) * 4u;
    var v = sums;
    for (var ii = 0u; ii < 4u; ii = ii + 1u) {
        let i = own.first + (l / COLS) * 4u + ii;
        if i >= p.n { break; }
        let to = at + i * 3u * p.heads * p.d + c;
#ifdef VEC4
        if c < p.d { dqkv[to / 4u] = v[ii]; }
#else
        for (var jj = 0u; jj < 4u; jj = jj + 1u) { if c + jj < p.d { dqkv[to + jj] = v[ii][jj]; } }
#endif
    }
}

#ifdef KEYS
@compute @workgroup_size(256)
fn keys(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let group = group_index(wid, nwg);
    if group >= p.groups { return; }
    let own = place(group);
    let l = lid.x;
    let lb = block_b(l);
    let g = start(own.head);
    var dk: Sums;
    var dv: Sums;
    for (var i0 = 0u; i0 < p.n; i0 = i0 + 64u) {
        var s = pairs(own.k, own.first, own.q, i0, l);
        let dp = upstream(own, i0, own.first, l);
        let i = i0 + (l % COLS) * 4u;
        let of_i = rows(own.head, i);
        // Rows are keys, columns queries. A query that does not exist has no weight.
        var ds = mat4x4<f32>();
        for (var jj = 0u; jj < 4u; jj = jj + 1u) {
            s[jj] = select(vec4<f32>(0.0), exp2(s[jj] * p.scale2 - of_i.lse), exist(i));
            ds[jj] = s[jj] * (dp[jj] - of_i.inner);
        }
        let wp = transpose(s);
        let ws = transpose(ds);
        // 16 queries at a time: those of 4 threads of each row of threads.
        for (var k0 = 0u; k0 < min(64u, p.n - i0); k0 = k0 + TILE_K) {
            let mine = (l % COLS) / 4u == k0 / TILE_K;
            let from_i = i0 + k0 + (lb / 16u) * 4u;
            let c = own.column + (lb % 16u) * 4u;
            if mine { put_a(l / COLS, l % 4u, wp); }
            if lb < TILE_N { put_b(lb % 16u, lb / 16u, along_g(g, from_i, c)); }
            workgroupBarrier();
            tile_multiply(&dv, l);
            workgroupBarrier();
            if mine { put_a(l / COLS, l % 4u, ws); }
            if lb < TILE_N { put_b(lb % 16u, lb / 16u, along(own.q, from_i, c)); }
            workgroupBarrier();
            tile_multiply(&dk, l);
            workgroupBarrier();
        }
    }
    put(own.k, own, l, dk.a * p.scale);
    put(own.v, own, l, dv.a);
}
#else
@compute @workgroup_size(256)
fn queries(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let group = group_index(wid, nwg);
    if group >= p.groups { return; }
    let own = place(group);
    let l = lid.x;
    let lb = block_b(l);
    let of_i = rows(own.head, own.first + (l / COLS) * 4u);
    var dq: Sums;
    for (var j0 = 0u; j0 < p.n; j0 = j0 + 64u) {
        var s = pairs(own.q, own.first, own.k, j0, l);
        let dp = upstream(own, own.first, j0, l);
        let valid = exist(j0 + (l % COLS) * 4u);
        for (var ii = 0u; ii < 4u; ii = ii + 1u) {
            let w = select(vec4<f32>(0.0), exp2(s[ii] * p.scale2 - vec4<f32>(of_i.lse[ii])), valid);
            s[ii] = w * (dp[ii] - vec4<f32>(of_i.inner[ii]));
        }
        let w = transpose(s);
        for (var k0 = 0u; k0 < min(64u, p.n - j0); k0 = k0 + TILE_K) {
            if (l % COLS) / 4u == k0 / TILE_K { put_a(l / COLS, l % 4u, w); }
            let from_j = j0 + k0 + (lb / 16u) * 4u;
            if lb < TILE_N { put_b(lb % 16u, lb / 16u, along(own.k, from_j, own.column + (lb % 16u) * 4u)); }
            workgroupBarrier();
            tile_multiply(&dq, l);
            workgroupBarrier();
        }
    }
    put(own.q, own, l, dq.a * p.scale);
}
#endif
#endif
#endif
