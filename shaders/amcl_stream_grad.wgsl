// Gradient of amcl_stream.wgsl by z and the features, from g = dloss [C,A] and what it kept. Similarities,
// temperatures, candidates and positives are symmetric, so that pair (i,j) counts once as i's and once as j's; with G
// = g_i + g_j, and E = g_i e_i + g_j e_j, R = g_i r_i + g_j r_j of both anchors' weights (lib/weights.wgsl):
//   softmax: e_i = exp(logit - norm_i), r_i = e_i Omega'(tau)
//   TOP_K:   e_i = norm_i = 1/k, r_i = e_i Omega'(tau), or (1 - 1/tau)/tau with p.official_sum, where i's threshold
//   selects j, else 0; e_j likewise where j's selects i w_ij = -G/tau (positive) + E/tau (candidate)
//   v_ij = (G (s/tau^2 + beta Omega'(tau)) (positive) - E s/tau^2 - beta R (candidate)) dtau/dr, for the roles that
//   are adaptive dz_i = sum_j w_ij z_j, dfeature_i = sum_j v_ij feature_j.
// A group takes 64 rows i and 64 of the D columns and walks over all j, 64 at a time: it makes the tile's
// similarities and scores anew, then w and v in registers, and multiplies them by z and the features through
// workgroup memory. A sum is made by one thread in a fixed order. Features that all heads share get a dispatch a
// head, in order, which adds (p.accumulate).
// CENTRED: a score is r = gain (x - mean) + p.centre of a product x, and each pair counts in two v. With S = 1/2 sum_ij
// v_ij of a head and X = 1/2 sum_ij v_ij (x_ij - mean):
//   dfeature_i = gain sum_j v_ij feature_j, dmean = -gain S (of all heads where these share the features), dgain = sum
//   of X over the heads.
// A kernel may bind 8 buffers, so `pack` (PACK) first puts dloss, norm, value and index of each anchor into one vec4; a
// group of the first chunk adds S and X of its rows, thread by thread in order, and `total` (TOTAL) those of the groups.
// Grid: p.heads * p.tiles * p.chunks groups of 256, p.chunks = ceil(D/64), folded; pack p.heads * p.tiles groups of 64;
// total one group of 64.
#ifdef PACK
#import grid
#import pair_params
@group(0) @binding(0) var<storage, read> dloss: array<f32>;
@group(0) @binding(1) var<storage, read> norm: array<f32>;
@group(0) @binding(2) var<storage, read_write> anchors: array<vec4<u32>>;
#ifdef TOP_K
@group(0) @binding(3) var<storage, read> value: array<f32>;
@group(0) @binding(4) var<storage, read> index: array<u32>;
#endif

@compute @workgroup_size(64)
fn pack(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let g = group_index(wid, nwg);
    if g >= p.heads * p.tiles { return; }
    let i = p.first + (g % p.tiles) * 64u + lid.x;
    if i >= p.end { return; }
    let row = (g / p.tiles) * p.a + i;
    let at = p.off_row + row;
    var v = vec4<u32>(bitcast<u32>(dloss[at]), bitcast<u32>(norm[at]), 0u, 0u);
#ifdef TOP_K
    v.z = bitcast<u32>(value[at]);
    v.w = index[at];
#endif
    anchors[p.off_packed + row] = v;
}
#else
#ifdef TOTAL
#import pair_params
@group(0) @binding(0) var<storage, read> part: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> gain: array<f32>;
@group(0) @binding(2) var<storage, read_write> dgain: array<f32>;
@group(0) @binding(3) var<storage, read_write> dmean: array<f32>;
var<workgroup> lane: array<vec2<f32>, 64>;

@compute @workgroup_size(64)
fn total(@builtin(local_invocation_id) lid: vec3<u32>) {
    var all = vec2<f32>(0.0);
    for (var head = 0u; head < p.heads; head = head + 1u) {
        var s = vec2<f32>(0.0);
        for (var t = lid.x; t < p.tiles; t = t + 64u) { s = s + part[head * p.tiles + t]; }
        workgroupBarrier();
        lane[lid.x] = s;
        workgroupBarrier();
        for (var h = 32u; h > 0u; h = h / 2u) {
            if lid.x < h { lane[lid.x] = lane[lid.x] + lane[lid.x + h]; }
            workgroupBarrier();
        }
        all = all + lane[0];
        if lid.x == 0u && p.score_heads > 1u { dmean[head] = -0.5 * gain[0] * lane[0].x; }
    }
    if lid.x == 0u {
        dgain[0] = 0.5 * all.y;
        if p.score_heads == 1u { dmean[0] = -0.5 * gain[0] * all.x; }
    }
}
#else
#import grid
#import step
#import pair_tile
#ifdef CENTRED
@group(0) @binding(4) var<storage, read> anchors: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> dz: array<f32>;
@group(0) @binding(6) var<storage, read_write> dfeature: array<f32>;
@group(0) @binding(7) var<storage, read_write> part: array<vec2<f32>>;
// Of anchor i, counted from the first head's first: dloss, norm and the threshold.
fn dloss_of(i: u32) -> f32 { return bitcast<f32>(anchors[p.off_packed + i].x); }
fn norm_of(i: u32) -> f32 { return bitcast<f32>(anchors[p.off_packed + i].y); }
fn limit_of(i: u32) -> f32 { return bitcast<f32>(anchors[p.off_packed + i].z); }
fn last_of(i: u32) -> u32 { return anchors[p.off_packed + i].w; }
#else
#ifdef ADAPTIVE
@group(0) @binding(2) var<storage, read> dloss: array<f32>;
@group(0) @binding(3) var<storage, read> norm: array<f32>;
@group(0) @binding(4) var<storage, read_write> dz: array<f32>;
@group(0) @binding(5) var<storage, read_write> dfeature: array<f32>;
#ifdef TOP_K
@group(0) @binding(6) var<storage, read> value: array<f32>;
@group(0) @binding(7) var<storage, read> index: array<u32>;
#endif
#else
@group(0) @binding(1) var<storage, read> dloss: array<f32>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<storage, read_write> dz: array<f32>;
#ifdef TOP_K
@group(0) @binding(4) var<storage, read> value: array<f32>;
@group(0) @binding(5) var<storage, read> index: array<u32>;
#endif
#endif
fn dloss_of(i: u32) -> f32 { return dloss[p.off_row + i]; }
fn norm_of(i: u32) -> f32 { return norm[p.off_row + i]; }
#ifdef TOP_K
fn limit_of(i: u32) -> f32 { return value[p.off_row + i]; }
fn last_of(i: u32) -> u32 { return index[p.off_row + i]; }
#endif
#endif
#import weights

// Columns kk = 0..3: z[row0+kk, n0..n0+4]; values of n behind the last are not stored.
fn along_z(base: u32, row0: u32, n0: u32) -> mat4x4<f32> {
    var block: mat4x4<f32>;
    for (var k = 0u; k < 4u; k = k + 1u) {
        let at = base + min(row0 + k, p.a - 1u) * p.d;
#ifdef VEC4
        block[k] = z[(at + min(n0, p.d - 4u)) / 4u];
#else
        let c = min(vec4<u32>(n0, n0 + 1u, n0 + 2u, n0 + 3u), vec4<u32>(p.d - 1u));
        block[k] = vec4<f32>(z[at + c.x], z[at + c.y], z[at + c.z], z[at + c.w]);
#endif
    }
    return block;
}
#ifdef ADAPTIVE
fn along_f(base: u32, row0: u32, n0: u32) -> mat4x4<f32> {
    var block: mat4x4<f32>;
    for (var k = 0u; k < 4u; k = k + 1u) {
        let at = base + min(row0 + k, p.a - 1u) * p.d;
#ifdef VEC4
        block[k] = feature[(at + min(n0, p.d - 4u)) / 4u];
#else
        let c = min(vec4<u32>(n0, n0 + 1u, n0 + 2u, n0 + 3u), vec4<u32>(p.d - 1u));
        block[k] = vec4<f32>(feature[at + c.x], feature[at + c.y], feature[at + c.z], feature[at + c.w]);
#endif
    }
    return block;
}
#endif

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let g = group_index(wid, nwg);
    let tiles = p.tiles;
    if g >= p.heads * tiles * p.chunks { return; }
    let head = g / (tiles * p.chunks);
    let i0 = p.first + ((g / p.chunks) % tiles) * 64u;
    let n0 = (g % p.chunks) * 64u;
    let base = p.off_z + head * p.a * p.d;
    let row = head * p.a;
    let constant = p.tau_const * step.tau_scale;
    let l = lid.x;
    let lb = block_b(l);
    let i = i0 + (l / COLS) * 4u;
    var soft = true;
#ifdef TOP_K
    soft = (p.warmup & step.flags & STEP_WARMUP) == 1u;
#endif
    var dz_sums: Sums;
#ifdef ADAPTIVE
    let from_head = p.off_f + head * p.a * p.d;
    var df_sums: Sums;
#endif
#ifdef CENTRED
    var centre = vec2<f32>(0.0);
#endif
    for (var j0 = 0u; j0 < p.a; j0 = j0 + 64u) {
        var s = similarities(base, i0, j0, l);
#ifdef ADAPTIVE
        var x = products(from_head, i0, j0, l);
        var v = mat4x4<f32>();
#endif
        // Columns jj: the pairs of 4 rows i with j + jj.
        var w = mat4x4<f32>();
        let j = j0 + (l % COLS) * 4u;
        for (var jj = 0u; jj < 4u; jj = jj + 1u) {
            let gj = dloss_of(row + min(j + jj, p.a - 1u));
            let nj = norm_of(row + min(j + jj, p.a - 1u));
            for (var ii = 0u; ii < 4u; ii = ii + 1u) {
                if i + ii >= p.end || j + jj >= p.a { continue; }
                let gi = dloss_of(row + i + ii);
                let pair = s[ii][jj];
                var tp = constant;
                var tn = constant;
#ifdef ADAPTIVE
                var dv = 0.0;
                let r = score(head, x[ii][jj]);
                let tau = temperature(r);
                // Times it in each role: a pair of none sends nothing to its score, and be that a NaN.
                let slope = temperature_slope(r);
                tp = select(constant, tau, p.adaptive_pos == 1u);
                tn = select(constant, tau, p.adaptive_neg == 1u);
#endif
                var dw = 0.0;
                if j + jj == positive_of(i + ii) {
                    dw = -(gi + gj) / tp;
#ifdef ADAPTIVE
                    if p.adaptive_pos == 1u { dv = (gi + gj) * (pair / (tp * tp) + p.beta * omega_slope(tp)) * slope; }
#endif
                }
                if is_candidate(i + ii, j + jj) {
                    var by_i = false;
                    var by_j = false;
#ifdef TOP_K
                    by_i = is_selected(pair, j + jj, limit_of(row + i + ii), last_of(row + i + ii));
                    by_j = is_selected(pair, i + ii, limit_of(row + j + jj), last_of(row + j + jj));
#endif
                    let e = gi * weights(pair, tn, norm_of(row + i + ii), soft, by_i)
                        + gj * weights(pair, tn, nj, soft, by_j);
                    dw = dw + e.x / tn;
#ifdef ADAPTIVE
                    if p.adaptive_neg == 1u { dv = dv - (e.x * pair / (tn * tn) + p.beta * e.y) * slope; }
#endif
                }
                w[jj][ii] = dw;
#ifdef ADAPTIVE
                v[jj][ii] = dv;
#endif
#ifdef CENTRED
                centre = centre + v[jj][ii] * vec2<f32>(1.0, x[ii][jj] - mean_of(head));
                v[jj][ii] = gain[0] * v[jj][ii];
#endif
            }
        }
        // 16 columns j at a time: those of 4 threads of each row of threads.
        for (var k0 = 0u; k0 < 64u; k0 = k0 + TILE_K) {
            let mine = (l % COLS) / 4u == k0 / TILE_K;
            if mine { put_a(l / COLS, l % 4u, w); }
            if lb < TILE_N {
                put_b(lb % 16u, lb / 16u, along_z(base, j0 + k0 + (lb / 16u) * 4u, n0 + (lb % 16u) * 4u));
            }
            workgroupBarrier();
            tile_multiply(&dz_sums, l);
            workgroupBarrier();
#ifdef ADAPTIVE
            if mine { put_a(l / COLS, l % 4u, v); }
            if lb < TILE_N {
                put_b(lb % 16u, lb / 16u, along_f(from_head, j0 + k0 + (lb / 16u) * 4u, n0 + (lb % 16u) * 4u));
            }
            workgroupBarrier();
            tile_multiply(&df_sums, l);
            workgroupBarrier();
#endif
        }
    }
    var rows_dz = dz_sums.a;
#ifdef ADAPTIVE
    var rows_df = df_sums.a;
#endif
    for (var ii = 0u; ii < 4u; ii = ii + 1u) {
        if i + ii >= p.end { break; }
        for (var jj = 0u; jj < 4u; jj = jj + 1u) {
            let n = n0 + (l % COLS) * 4u + jj;
            if n >= p.d { break; }
            let at = (head * p.own + i + ii - p.shift) * p.d + n;
            dz[p.off_own_z + at] = rows_dz[ii][jj];
#ifdef ADAPTIVE
            if p.accumulate == 1u {
                dfeature[p.off_own_f + at] = dfeature[p.off_own_f + at] + rows_df[ii][jj];
            } else {
                dfeature[p.off_own_f + at] = rows_df[ii][jj];
            }
#endif
        }
    }
#ifdef CENTRED
    if n0 == 0u {
        tile_a[l] = vec4<f32>(centre, 0.0, 0.0);
        workgroupBarrier();
        if l == 0u {
            var sum = vec2<f32>(0.0);
            for (var t = 0u; t < 256u; t = t + 1u) { sum = sum + tile_a[t].xy; }
            // The tiles of a share's first run of rows come before those of its second.
            let of_run = (p.own / 2u + 63u) / 64u;
            let of_head = select(2u * of_run, (p.own + 63u) / 64u, p.own == p.a);
            part[(p.head0 + head) * of_head + (i0 - p.shift + 63u) / 64u] = sum;
        }
    }
#endif
}
#endif
#endif
