// The AMCL loss of each anchor and head, Eqs. (2.1), (2.4) and their softmax and top-kappa forms:
//   l[c,i] = -s+/tau+ + beta Omega(tau+) + T, with candidates n of row i and
//   softmax: T = log sum_n exp(s_n/tau_n - beta Omega(tau_n))
//   top-k:   T = 1/k sum_sel s_n/tau_n - beta/k sum_sel Omega(tau_n), or - beta sum_sel (log tau_n + 1/tau_n) with
//   p.official_sum.
// s [C,A,N] similarities; r [heads_r,A,N] scores (ADAPTIVE), heads_r = C or 1 (head 0's for all heads: a dispatch a
// head); value, index: the selection of top_k (TOP_K).
// A role that is not adaptive has tau_const step.tau_scale. During warm-up (p.warmup and step.flags) the softmax form
// is used.
// Outputs: loss [C,A]; norm [C,A]: the log-sum-exp (softmax) or 1/k (top-k), for the gradient.
// A group of 64 threads an anchor and head: thread sums in fixed stride, then a tree. Grid: p.rows groups, folded.
#import grid
#import step
#import amcl_params
@group(0) @binding(0) var<storage, read> s: array<f32>;
@group(0) @binding(1) var<storage, read_write> loss: array<f32>;
@group(0) @binding(2) var<storage, read_write> norm: array<f32>;
#ifdef ADAPTIVE
@group(0) @binding(3) var<storage, read> score: array<f32>;
#ifdef TOP_K
@group(0) @binding(4) var<storage, read> value: array<f32>;
@group(0) @binding(5) var<storage, read> index: array<u32>;
#endif
#else
#ifdef TOP_K
@group(0) @binding(3) var<storage, read> value: array<f32>;
@group(0) @binding(4) var<storage, read> index: array<u32>;
#endif
#endif
#import candidates
#import temperature
#import weights
var<workgroup> lane: array<vec3<f32>, 64>;

fn tau_at(adaptive: u32, at: u32) -> f32 {
#ifdef ADAPTIVE
    if adaptive == 1u { return temperature(score[at]); }
#endif
    return p.tau_const * step.tau_scale;
}

// (m, l): sum = l exp(m).
fn merge(x: vec3<f32>, y: vec3<f32>) -> vec3<f32> {
    let m = max(x.x, y.x);
    return vec3<f32>(m, x.y * exp(x.x - m) + y.y * exp(y.x - m), 0.0);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let row = group_index(wid, nwg);
    if row >= p.rows { return; }
    let i = (p.first + row) % p.a;
    let base = p.off_s + row * p.n;
    let rbase = p.off_r + row * p.n;
    let at = p.off_row + row;
    let l = lid.x;
    let soft = p.softmax == 1u || (p.warmup & step.flags & STEP_WARMUP) == 1u;
    // Far below every logit, yet finite: exp of a difference of two of them is 1, not NaN.
    var acc = vec3<f32>(select(0.0, -3.0e38, soft), 0.0, 0.0);
    for (var j = l; j < p.n; j = j + 64u) {
        if !is_candidate(i, j) { continue; }
        let v = s[base + j];
        if soft {
            let t = tau_at(p.adaptive_neg, rbase + j);
            let logit = v / t - p.beta * omega(t);
            acc = merge(acc, vec3<f32>(logit, of_number(1.0, logit), 0.0));
        } else {
#ifdef TOP_K
            if is_selected(v, j, value[at], index[at]) {
                let t = tau_at(p.adaptive_neg, rbase + j);
                acc = acc + vec3<f32>(v / t, selected_omega(t), 1.0);
            }
#endif
        }
    }
    lane[l] = acc;
    workgroupBarrier();
    for (var h = 32u; h > 0u; h = h / 2u) {
        if l < h {
            if soft { lane[l] = merge(lane[l], lane[l + h]); } else { lane[l] = lane[l] + lane[l + h]; }
        }
        workgroupBarrier();
    }
    if l == 0u {
        let q = lane[0];
        let j = positive_of(i);
        let t = tau_at(p.adaptive_pos, rbase + j);
        var out = p.beta * omega(t) - s[base + j] / t;
        if soft {
            let lse = q.x + of_number(log(q.y), q.y);
            norm[at] = lse;
            out = out + lse;
        } else {
            norm[at] = 1.0 / q.z;
            out = out + q.x / q.z - p.beta * select(q.y / q.z, q.y, p.official_sum == 1u);
        }
        loss[at] = out;
    }
}
