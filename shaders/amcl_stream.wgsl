// amcl_loss.wgsl in NT-Xent's arrangement, from unit rows z [C,A,D] and features [C or 1,A,D] of phi instead of their
// products, s_ij = z_i . z_j, tau_ij = temperature(score of feature_i . feature_j); CENTRED: from gain [1] and mean
// [C or 1] too (lib/pair_tile.wgsl):
//   l[c,i] = -s+/tau+ + beta Omega(tau+) + T
//   softmax: T = log sum_n exp(s_n/tau_n - beta Omega(tau_n))
//   TOP_K:   T = 1/k sum_sel s_n/tau_n - beta/k sum_sel Omega(tau_n), or - beta sum_sel (log tau_n + 1/tau_n) with
//   p.official_sum, of the candidates that value, index [C,A] of
//            top_k_stream select; the softmax form during warm-up (p.warmup and step.flags).
// A group takes 64 anchors and walks over all columns, 64 at a time: a thread keeps maximum and sum of exponentials
// of its 4 rows (rescaled when the maximum grows), and 16 threads' are merged at the end, in order; of the selected
// it keeps plain sums. Nothing of size A x A is stored.
// Outputs: loss [C,A]; norm [C,A], the log-sum-exp or 1/k, for the gradient; or those of a rank's own anchors alone.
// Grid: p.heads * p.tiles groups of 256, folded.
#import grid
#import step
#import pair_tile
#ifdef CENTRED
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;
@group(0) @binding(5) var<storage, read_write> norm: array<f32>;
#ifdef TOP_K
@group(0) @binding(6) var<storage, read> value: array<f32>;
@group(0) @binding(7) var<storage, read> index: array<u32>;
#endif
#else
#ifdef ADAPTIVE
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;
@group(0) @binding(3) var<storage, read_write> norm: array<f32>;
#ifdef TOP_K
@group(0) @binding(4) var<storage, read> value: array<f32>;
@group(0) @binding(5) var<storage, read> index: array<u32>;
#endif
#else
@group(0) @binding(1) var<storage, read_write> loss: array<f32>;
@group(0) @binding(2) var<storage, read_write> norm: array<f32>;
#ifdef TOP_K
@group(0) @binding(3) var<storage, read> value: array<f32>;
@group(0) @binding(4) var<storage, read> index: array<u32>;
#endif
#endif
#endif
#import weights

// Far below every logit, yet finite: exp of a difference of two of them is 1, not NaN, and is scaled away by the
// first true one.
const NONE: f32 = -3.0e38;

// Sums over a row of a slot of the 16 threads that have its columns.
fn across(a: bool, l: u32) -> f32 {
    var sum = 0.0;
    for (var t = 0u; t < COLS; t = t + 1u) {
        let at = (l / 4u) * COLS + t;
        sum = sum + select(tile_b[at][l % 4u], tile_a[at][l % 4u], a);
    }
    return sum;
}

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
    let i0 = p.first + (g % tiles) * 64u;
    let base = p.off_z + head * p.a * p.d;
    let constant = p.tau_const * step.tau_scale;
    let l = lid.x;
    let i = i0 + (l / COLS) * 4u;
    var most = vec4<f32>(NONE);
    var sum = vec4<f32>(0.0);
    var soft = true;
#ifdef TOP_K
    soft = (p.warmup & step.flags & STEP_WARMUP) == 1u;
    // Over the selected: s/tau, the regulariser, how many; and the thresholds.
    var term = vec4<f32>(0.0);
    var reg = vec4<f32>(0.0);
    var chosen = vec4<f32>(0.0);
    var limit: vec4<f32>;
    var last: vec4<u32>;
    for (var ii = 0u; ii < 4u; ii = ii + 1u) {
        let at = p.off_row + head * p.a + min(i + ii, p.a - 1u);
        limit[ii] = value[at];
        last[ii] = index[at];
    }
#endif
    for (var j0 = 0u; j0 < p.a; j0 = j0 + 64u) {
        var s = similarities(base, i0, j0, l);
#ifdef ADAPTIVE
        var x = products(p.off_f + head * p.a * p.d, i0, j0, l);
#endif
        let j = j0 + (l % COLS) * 4u;
        for (var ii = 0u; ii < 4u; ii = ii + 1u) {
            var logit = vec4<f32>(NONE);
            for (var jj = 0u; jj < 4u; jj = jj + 1u) {
                var tau = constant;
#ifdef ADAPTIVE
                if p.adaptive_neg == 1u { tau = temperature(score(head, x[ii][jj])); }
#endif
                if j + jj >= p.a || !is_candidate(i + ii, j + jj) { continue; }
#ifdef TOP_K
                if !soft {
                    if is_selected(s[ii][jj], j + jj, limit[ii], last[ii]) {
                        term[ii] = term[ii] + s[ii][jj] / tau;
                        reg[ii] = reg[ii] + selected_omega(tau);
                        chosen[ii] = chosen[ii] + 1.0;
                    }
                    continue;
                }
#endif
                logit[jj] = s[ii][jj] / tau - p.beta * omega(tau);
            }
            if !soft { continue; }
            let m = max(max(most[ii], max(logit.x, logit.y)), max(logit.z, logit.w));
            let all = dot(exp(logit - vec4<f32>(m)), vec4<f32>(1.0));
            sum[ii] = sum[ii] * exp(most[ii] - m) + of_number(all, dot(logit, vec4<f32>(1.0)));
            most[ii] = m;
        }
    }
    // A slot of both tiles a thread.
    tile_a[l] = most;
    tile_b[l] = sum;
    workgroupBarrier();
    let row = i0 + l;
    let mine = l < 64u && row < p.end;
    // The candidates' term, and what is kept for the gradient.
    var candidates = 0.0;
    var kept = 0.0;
    if mine && soft {
        let first = (l / 4u) * COLS;
        var m = tile_a[first][l % 4u];
        for (var t = 1u; t < COLS; t = t + 1u) { m = max(m, tile_a[first + t][l % 4u]); }
        var total = 0.0;
        for (var t = 0u; t < COLS; t = t + 1u) {
            total = total + tile_b[first + t][l % 4u] * exp(tile_a[first + t][l % 4u] - m);
        }
        candidates = m + of_number(log(total), total);
        kept = candidates;
    }
#ifdef TOP_K
    workgroupBarrier();
    if !soft {
        tile_a[l] = term;
        tile_b[l] = reg;
    }
    workgroupBarrier();
    var sums = vec2<f32>(0.0);
    if mine && !soft { sums = vec2<f32>(across(true, l), across(false, l)); }
    workgroupBarrier();
    tile_a[l] = chosen;
    workgroupBarrier();
    if mine && !soft {
        kept = 1.0 / across(true, l);
        candidates = sums.x * kept - p.beta * select(sums.y * kept, sums.y, p.official_sum == 1u);
    }
#endif
    if mine {
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
            tau = temperature(score(head, r));
        }
#endif
        let at = p.off_own + head * p.own + row - p.shift;
        norm[at] = kept;
        loss[at] = p.beta * omega(tau) - s / tau + candidates;
    }
}
