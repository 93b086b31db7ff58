// barlow_loss.wgsl from standardised columns x, y [C,N,D] and features fx, fy [C or 1,D,F] of phi instead of their
// products:
//   loss[c,l] = (1 - k_ll/tau_ll)^2 + beta Omega(tau_ll) + sum_{m != l} (lambda k_lm^2/tau_lm - beta Omega(tau_lm)),
//   k_lm = 1/N sum_n x[n,l] y[n,m], tau_lm = temperature(fx_l . fy_m) (ADAPTIVE) where p.adaptive_on or _off says so,
//   else p.tau_on or _off and no Omega.
// A group takes 64 channels l and walks over all m, 64 at a time: a thread sums the terms of its 4 rows and 4
// columns, and 16 threads' sums are added at the end, in order.
// Nothing of size D x D is stored. Output: loss [C,D]. Grid: p.heads * p.tiles groups of 256, folded.
#import grid
#import channel_tile
#ifdef ADAPTIVE
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;
#else
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;
#endif

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let g = group_index(wid, nwg);
    let tiles = p.tiles;
    if g >= p.heads * tiles { return; }
    let head = g / tiles;
    let i0 = (p.first + g % tiles) * 64u;
    let base = p.off_x + head * p.n * p.d;
    let l = lid.x;
    let i = i0 + (l / COLS) * 4u;
    var sum = vec4<f32>(0.0);
    for (var j0 = 0u; j0 < p.d; j0 = j0 + 64u) {
        var k = correlations(base, i0, j0, l);
#ifdef ADAPTIVE
        var r = scores(p.off_f + head * p.d * p.f, i0, j0, l);
#endif
        let j = j0 + (l % COLS) * 4u;
        for (var ii = 0u; ii < 4u; ii = ii + 1u) {
            for (var jj = 0u; jj < 4u; jj = jj + 1u) {
                // Rows behind the last are not stored.
                if j + jj >= p.d { continue; }
                let v = k[ii][jj];
                let diagonal = i + ii == j + jj;
                var tau = select(p.tau_off, p.tau_on, diagonal);
                var reg = 0.0;
#ifdef ADAPTIVE
                if select(p.adaptive_off, p.adaptive_on, diagonal) == 1u {
                    tau = temperature(r[ii][jj]);
                    reg = p.beta * omega(tau);
                }
#endif
                let on = 1.0 - v / tau;
                sum[ii] = sum[ii] + select(p.lambda * v * v / tau - reg, on * on + reg, diagonal);
            }
        }
    }
    tile_a[l] = sum;
    workgroupBarrier();
    let row = i0 + l;
    if l < 64u && row < p.d {
        let first = (l / 4u) * COLS;
        var total = 0.0;
        for (var t = 0u; t < COLS; t = t + 1u) { total = total + tile_a[first + t][l % 4u]; }
        loss[p.off_row + head * p.d + row] = total;
    }
}
