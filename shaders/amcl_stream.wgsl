// The softmax form of amcl_loss.wgsl in NT-Xent's arrangement, from unit rows z [C,A,D] and features [C or 1,A,D] of phi instead of their products:
//   l[c,i] = -s+/tau+ + beta Omega(tau+) + log sum_n exp(s_n/tau_n - beta Omega(tau_n)), s_ij = z_i . z_j, tau_ij = temperature(feature_i . feature_j).
// A group takes 64 anchors and walks over all columns, 64 at a time: a thread keeps maximum and sum of exponentials of its 4 rows (rescaled when the maximum grows), and 16
// threads' are merged at the end, in order. Nothing of size A x A is stored.
// Outputs: loss [C,A]; norm [C,A], the log-sum-exp, for the gradient. Grid: p.heads * p.tiles groups of 256, folded.
#import grid
#import step
#import pair_tile
#ifdef ADAPTIVE
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;
@group(0) @binding(3) var<storage, read_write> norm: array<f32>;
#else
@group(0) @binding(1) var<storage, read_write> loss: array<f32>;
@group(0) @binding(2) var<storage, read_write> norm: array<f32>;
#endif

// Far below every logit, yet finite: exp of a difference of two of them is 1, not NaN, and is scaled away by the first true one.
const NONE: f32 = -3.0e38;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let g = group_index(wid, nwg);
    let tiles = p.tiles;
    if g >= p.heads * tiles { return; }
    let head = g / tiles;
    let i0 = (p.first + g % tiles) * 64u;
    let base = p.off_z + head * p.a * p.d;
    let constant = p.tau_const * step.tau_scale;
    let l = lid.x;
    let i = i0 + (l / COLS) * 4u;
    var most = vec4<f32>(NONE);
    var sum = vec4<f32>(0.0);
    for (var j0 = 0u; j0 < p.a; j0 = j0 + 64u) {
        var s = similarities(base, i0, j0, l);
#ifdef ADAPTIVE
        var r = scores(p.off_f + head * p.a * p.d, i0, j0, l);
#endif
        let j = j0 + (l % COLS) * 4u;
        for (var ii = 0u; ii < 4u; ii = ii + 1u) {
            var logit = vec4<f32>(NONE);
            for (var jj = 0u; jj < 4u; jj = jj + 1u) {
                var tau = constant;
#ifdef ADAPTIVE
                if p.adaptive_neg == 1u { tau = temperature(r[ii][jj]); }
#endif
                if j + jj < p.a && is_candidate(i + ii, j + jj) { logit[jj] = s[ii][jj] / tau - p.beta * omega(tau); }
            }
            let m = max(max(most[ii], max(logit.x, logit.y)), max(logit.z, logit.w));
            sum[ii] = sum[ii] * exp(most[ii] - m) + dot(exp(logit - vec4<f32>(m)), vec4<f32>(1.0));
            most[ii] = m;
        }
    }
    // A slot of both tiles a thread.
    tile_a[l] = most;
    tile_b[l] = sum;
    workgroupBarrier();
    let row = i0 + l;
    if l < 64u && row < p.a {
        let first = (l / 4u) * COLS;
        var m = tile_a[first][l % 4u];
        for (var t = 1u; t < COLS; t = t + 1u) { m = max(m, tile_a[first + t][l % 4u]); }
        var total = 0.0;
        for (var t = 0u; t < COLS; t = t + 1u) { total = total + tile_b[first + t][l % 4u] * exp(tile_a[first + t][l % 4u] - m); }
        let lse = m + log(total);
        let other = positive_of(row);
        var s = 0.0;
        for (var k = 0u; k < p.d; k = k + 4u) {
            let x = rows_z(base, row, k);
            let y = rows_z(base, other, k);
            s = s + x[0].x * y[0].x + x[1].x * y[1].x + x[2].x * y[2].x + x[3].x * y[3].x;
        }
        var tau = constant;
#ifdef ADAPTIVE
        if p.adaptive_pos == 1u {
            let from_head = p.off_f + head * p.a * p.d;
            var r = 0.0;
            for (var k = 0u; k < p.d; k = k + 4u) {
                let x = rows_f(from_head, row, k);
                let y = rows_f(from_head, other, k);
                r = r + x[0].x * y[0].x + x[1].x * y[1].x + x[2].x * y[2].x + x[3].x * y[3].x;
            }
            tau = temperature(r);
        }
#endif
        let at = p.off_row + head * p.a + row;
        norm[at] = lse;
        loss[at] = p.beta * omega(tau) - s / tau + lse;
    }
}
