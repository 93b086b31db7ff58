// Batch normalisation in training mode, x [M,C] (M = images * height * width):
//   mean_c = 1/M sum x, var_c = 1/M sum (x - mean)^2 (biased), y = act(gamma (x - mean) / sqrt(var + eps) + beta (+
//   residual)).
// `partial`: a group a (run of p.rows rows, p.lanes columns) reads its rows once and makes (mean, M2, count), M2 =
// sum (x - mean)^2; part[(first+run)*C + channel].
//   A thread sums d = x - x0 and d^2 over its n rows, x0 being its first value: mean = x0 + sum d / n, M2 = sum d^2 -
//   (sum d)^2 / n. Unlike E[x^2] - E[x]^2 this does not depend on how far the mean lies from zero. What cancels is n
//   (mean - x0)^2, and since x0 is one of the values, (mean - x0)^2 <= M2 (n-1) / n: the sum of squares is at most n
//   M2, and about 2 M2 unless x0 is an outlier. n is at most 256 (ops/channels.rs): four digits of M2 remain even
//   then, three should all roundings go one way.
//   The threads of a column are merged by Chan's formula, in a tree.
// `combine`: a group a channel merges its runs by Chan's formula: 256 threads stride, then a tree.
// `apply`: a thread 4 or 8 elements of one column (lib/channels.wgsl).
// HALF: x, residual and y lie in f16; statistics and arithmetic are f32.
// Grid: partial runs * blocks groups, combine C, apply ceil(p.total / 256), folded.
#import channels
#import clamp
#ifndef APPLY
// Of a column's threads; n = 0: of no row.
struct Moments { mean: E, m2: E, n: f32 }
var<workgroup> lane_mean: array<E, 256>;
var<workgroup> lane_m2: array<E, 256>;
var<workgroup> lane_n: array<f32, 256>;
fn merge(a: Moments, b: Moments) -> Moments {
    let n = a.n + b.n;
    let share = b.n / max(n, 1.0);
    let d = b.mean - a.mean;
    return Moments(a.mean + d * share, a.m2 + b.m2 + d * d * (a.n * share), n);
}
fn of_lane(l: u32) -> Moments { return Moments(lane_mean[l], lane_m2[l], lane_n[l]); }
fn to_lane(l: u32, a: Moments) {
    lane_mean[l] = a.mean;
    lane_m2[l] = a.m2;
    lane_n[l] = a.n;
}
// Merges what the `deep` threads of each column hold into the first of them.
fn merge_lanes(l: u32, lane: u32, deep: u32, own: Moments) {
    to_lane(l, own);
    workgroupBarrier();
    for (var n = deep; n > 1u; n = (n + 1u) / 2u) {
        let h = (n + 1u) / 2u;
        if lane + h < n { to_lane(l, merge(of_lane(l), of_lane(l + h * p.lanes))); }
        workgroupBarrier();
    }
}
#endif
#ifdef PARTIAL
@group(0) @binding(0) var<storage, read> x: array<X>;
@group(0) @binding(1) var<storage, read_write> part: array<vec4<f32>>;
@compute @workgroup_size(256)
fn partial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let group = group_index(wid, nwg);
    if group >= p.groups { return; }
    let w = walk(group, lid.x);
    var own = Moments(E(0.0), E(0.0), 0.0);
    if w.count > 0u {
        let x0 = E(x[w.at]);
        var s1 = E(0.0);
        var s2 = E(0.0);
        var i = w.at;
        var k = 0u;
        var v: array<X, FLIGHT>;
        for (; k + FLIGHT <= w.count; k = k + FLIGHT) {
            for (var u = 0u; u < FLIGHT; u = u + 1u) { v[u] = x[i + u * w.step]; }
            var t1 = E(0.0);
            var t2 = E(0.0);
            for (var u = 0u; u < FLIGHT; u = u + 1u) {
                let a = E(v[u]) - x0;
                t1 = t1 + a;
                t2 = fma(a, a, t2);
            }
            s1 = s1 + t1;
            s2 = s2 + t2;
            i = i + FLIGHT * w.step;
        }
        for (; k < w.count; k = k + 1u) {
            let a = E(x[i]) - x0;
            s1 = s1 + a;
            s2 = fma(a, a, s2);
            i = i + w.step;
        }
        let n = f32(w.count);
        own = Moments(x0 + s1 / n, s2 - s1 * (s1 / n), n);
    }
    merge_lanes(lid.x, w.lane, 256u / p.lanes, own);
    if w.lane == 0u && w.column < p.c {
        let s = of_lane(lid.x);
#ifdef VEC4
        let at = ((p.first + w.run) * p.c + w.column) * 4u;
        part[at] = vec4<f32>(s.mean.x, s.m2.x, s.n, 0.0);
        part[at + 1u] = vec4<f32>(s.mean.y, s.m2.y, s.n, 0.0);
        part[at + 2u] = vec4<f32>(s.mean.z, s.m2.z, s.n, 0.0);
        part[at + 3u] = vec4<f32>(s.mean.w, s.m2.w, s.n, 0.0);
#else
        part[(p.first + w.run) * p.c + w.column] = vec4<f32>(s.mean, s.m2, s.n, 0.0);
#endif
    }
}
#endif
#ifdef COMBINE
@group(0) @binding(0) var<storage, read> part: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> mean_out: array<f32>;
@group(0) @binding(2) var<storage, read_write> var_out: array<f32>;
@compute @workgroup_size(256)
fn combine(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let c = group_index(wid, nwg);
    if c >= p.groups { return; }
    var own = Moments(0.0, 0.0, 0.0);
    for (var i = lid.x; i < p.runs; i = i + 256u) {
        let q = part[i * p.c + c];
        own = merge(own, Moments(q.x, q.y, q.z));
    }
    merge_lanes(lid.x, lid.x, min(p.runs, 256u), own);
    if lid.x == 0u {
        mean_out[c] = lane_mean[0];
        var_out[c] = lane_m2[0] / lane_n[0];
    }
}
#endif
#ifdef APPLY
@group(0) @binding(0) var<storage, read> x: array<X>;
@group(0) @binding(1) var<storage, read> gamma: array<E>;
@group(0) @binding(2) var<storage, read> beta: array<E>;
@group(0) @binding(3) var<storage, read> mean: array<E>;
@group(0) @binding(4) var<storage, read> variance: array<E>;
@group(0) @binding(5) var<storage, read_write> y: array<X>;
#ifdef RESIDUAL
@group(0) @binding(6) var<storage, read> residual: array<X>;
#endif
struct Factors { mean: E, scale: E, shift: E }
// `plus`: the residual, if there is one.
fn result(v: X, f: Factors, plus: X) -> X {
    var r = affine(v, f.mean, f.scale, f.shift);
#ifdef RESIDUAL
    r = r + E(plus);
#endif
#ifdef RELU
    r = relu(r);
#endif
    return X(r);
}
fn residual_at(i: u32) -> X {
#ifdef RESIDUAL
    return residual[i];
#else
    return X(0.0);
#endif
}
@compute @workgroup_size(256)
fn apply(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 256u + lid.x;
    if t >= p.total { return; }
    var i = first_element(t);
    let c = i % p.c;
    let f = Factors(mean[c], gamma[c] * inverseSqrt(variance[c] + E(p.eps)), beta[c]);
    var v: array<X, FLIGHT>;
    var plus: array<X, FLIGHT>;
    for (var turn = 0u; turn < p.rounds; turn = turn + 1u) {
        if i + (FLIGHT - 1u) * p.span < p.size {
            // All reads before the first write.
            for (var u = 0u; u < FLIGHT; u = u + 1u) {
                v[u] = x[i + u * p.span];
                plus[u] = residual_at(i + u * p.span);
            }
            for (var u = 0u; u < FLIGHT; u = u + 1u) { y[i + u * p.span] = result(v[u], f, plus[u]); }
        } else {
            for (var j = i; j < p.size; j = j + p.span) { y[j] = result(x[j], f, residual_at(j)); }
            return;
        }
        i = i + FLIGHT * p.span;
    }
}
#endif
