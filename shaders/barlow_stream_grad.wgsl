// Gradient of barlow_stream.wgsl by the columns x and the features fx of one view, from g = dloss [C,D]. Channels i
// of x meet channels j of y; the terms are symmetric in the two views but for g, which belongs to the row of the
// correlation: to i (x is the first view) or, p.by_column, to j (x is the second, and y the first). With k_ij, tau_ij
// as there:
//   w_ij = -2 g (1 - k/tau)/tau on the diagonal, 2 g lambda k/tau off it
//   v_ij = g (2 (1 - k/tau) k/tau^2 + beta Omega'(tau)) dtau/dr on it, -g (lambda k^2/tau^2 + beta Omega'(tau))
//   dtau/dr off it; 0 where the temperature is constant dx[n,i] = 1/N sum_j w_ij y[n,j], dfx_i = sum_j v_ij fy_j.
// A group takes 64 channels i and PARTS (define) times 64 of the N samples and F features and walks over all j, 64 at
// a time: it makes the tile's correlations and scores anew, then w and v in registers, and multiplies them by y and
// fy through workgroup memory. More PARTS make tiles anew less often and keep more sums in registers. A sum is made
// by one thread in a fixed order. Features that all heads share get a dispatch a head, in order, which adds
// (p.accumulate).
// Grid: p.heads * p.tiles * p.chunks groups of 256, p.chunks = ceil(max(N, F) / (64 PARTS)), folded.
#import grid
#import channel_tile
#ifdef ADAPTIVE
@group(0) @binding(4) var<storage, read> dloss: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
@group(0) @binding(6) var<storage, read_write> dfx: array<f32>;
#else
@group(0) @binding(2) var<storage, read> dloss: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
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
    let i0 = (p.first + (g / p.chunks) % tiles) * 64u;
    let n0 = (g % p.chunks) * PARTS * 64u;
    let base = p.off_x + head * p.n * p.d;
    let row = p.off_row + head * p.d;
    let l = lid.x;
    let lb = block_b(l);
    let i = i0 + (l / COLS) * 4u;
    var dx_sums: array<Sums, PARTS>;
#ifdef ADAPTIVE
    let from_head = p.off_f + head * p.d * p.f;
    var df_sums: array<Sums, PARTS>;
#endif
    for (var j0 = 0u; j0 < p.d; j0 = j0 + 64u) {
        var k = correlations(base, i0, j0, l);
#ifdef ADAPTIVE
        var r = scores(from_head, i0, j0, l);
        var v = mat4x4<f32>();
#endif
        // Columns jj: the pairs of 4 channels i with j + jj.
        var w = mat4x4<f32>();
        let j = j0 + (l % COLS) * 4u;
        for (var jj = 0u; jj < 4u; jj = jj + 1u) {
            for (var ii = 0u; ii < 4u; ii = ii + 1u) {
                if i + ii >= p.d || j + jj >= p.d { continue; }
                let up = dloss[row + select(i + ii, j + jj, p.by_column == 1u)];
                let pair = k[ii][jj];
                let diagonal = i + ii == j + jj;
                var tau = select(p.tau_off, p.tau_on, diagonal);
#ifdef ADAPTIVE
                let adaptive = select(p.adaptive_off, p.adaptive_on, diagonal) == 1u;
                if adaptive { tau = temperature(r[ii][jj]); }
#endif
                let on = 1.0 - pair / tau;
                w[jj][ii] = p.inv_n * up * select(2.0 * p.lambda * pair / tau, -2.0 * on / tau, diagonal);
#ifdef ADAPTIVE
                let reg = p.beta * omega_slope(tau);
                let dtau = select(-(p.lambda * pair * pair / (tau * tau) + reg), 2.0 * on * pair / (tau * tau) + reg,
                    diagonal);
                v[jj][ii] = select(0.0, up * dtau * temperature_slope(r[ii][jj]), adaptive);
#endif
            }
        }
        // 16 columns j at a time: those of 4 threads of each row of threads.
        for (var k0 = 0u; k0 < 64u; k0 = k0 + TILE_K) {
            let mine = (l % COLS) / 4u == k0 / TILE_K;
            if mine { put_a(l / COLS, l % 4u, w); }
            for (var part = 0u; part < PARTS; part = part + 1u) {
                // Past the last column w is zero; what stands for y there does not matter.
                if lb < TILE_N {
                    put_b(lb / 4u, lb % 4u,
                        transpose(load_y(base, n0 + part * 64u + (lb / 4u) * 4u, j0 + k0 + (lb % 4u) * 4u)));
                }
                workgroupBarrier();
                var sums = dx_sums[part];
                tile_multiply(&sums, l);
                dx_sums[part] = sums;
                workgroupBarrier();
            }
#ifdef ADAPTIVE
            if mine { put_a(l / COLS, l % 4u, v); }
            for (var part = 0u; part < PARTS; part = part + 1u) {
                if lb < TILE_N {
                    put_b(lb % 16u, lb / 16u,
                        load_fy(from_head, j0 + k0 + (lb / 16u) * 4u, n0 + part * 64u + (lb % 16u) * 4u));
                }
                workgroupBarrier();
                var sums = df_sums[part];
                tile_multiply(&sums, l);
                df_sums[part] = sums;
                workgroupBarrier();
            }
#endif
        }
    }
    for (var part = 0u; part < PARTS; part = part + 1u) {
        var block = dx_sums[part].a;
#ifdef ADAPTIVE
        var features = df_sums[part].a;
#endif
        for (var ii = 0u; ii < 4u; ii = ii + 1u) {
            if i + ii >= p.d { break; }
            for (var jj = 0u; jj < 4u; jj = jj + 1u) {
                let n = n0 + part * 64u + (l % COLS) * 4u + jj;
                if n < p.n { dx[base + n * p.d + i + ii] = block[ii][jj]; }
#ifdef ADAPTIVE
                if n < p.f {
                    let at = from_head + (i + ii) * p.f + n;
                    dfx[at] = features[ii][jj] + select(0.0, dfx[at], p.accumulate == 1u);
                }
#endif
            }
        }
    }
}
