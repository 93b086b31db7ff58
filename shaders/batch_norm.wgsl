// Batch normalisation in training mode, x [M,C] (M = images * height * width):
//   mean_c = 1/M sum x, var_c = 1/M sum (x - mean)^2 (biased), y = act(gamma (x - mean) / sqrt(var + eps) + beta (+ residual)).
// `partial`: a thread a (run of p.rows rows, channel) makes (mean, M2, count) in two passes over its run; part[(first+run)*C + c].
// `combine`: a thread a channel merges the runs in order by Chan's formula: never E[x^2] - E[x]^2.
// `apply`: a thread an element (VEC4: four channels).
// HALF: x, residual and y lie in f16; statistics and arithmetic are f32.
// Grid: partial ceil(runs*C/64), combine ceil(C/64), apply ceil(M*C/64 or /256), folded. p.total = threads with work.
#import grid
#import storage
struct Params { m: u32, c: u32, rows: u32, first: u32, total: u32, runs: u32, eps: f32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
#ifdef PARTIAL
@group(0) @binding(0) var<storage, read> x: array<S>;
@group(0) @binding(1) var<storage, read_write> part: array<vec4<f32>>;
@compute @workgroup_size(64)
fn partial(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let c = t % p.c;
    let start = (t / p.c) * p.rows;
    let end = min(p.m, start + p.rows);
    let n = f32(end - start);
    var s = 0.0;
    for (var i = start; i < end; i = i + 1u) { s = s + f32(x[i * p.c + c]); }
    let mean = s / n;
    var m2 = 0.0;
    for (var i = start; i < end; i = i + 1u) {
        let d = f32(x[i * p.c + c]) - mean;
        m2 = fma(d, d, m2);
    }
    part[p.first * p.c + t] = vec4<f32>(mean, m2, n, 0.0);
}
#endif
#ifdef COMBINE
@group(0) @binding(0) var<storage, read> part: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> mean_out: array<f32>;
@group(0) @binding(2) var<storage, read_write> var_out: array<f32>;
@compute @workgroup_size(64)
fn combine(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let c = group_index(wid, nwg) * 64u + lid.x;
    if c >= p.total { return; }
    var acc = part[c].xyz;
    for (var i = 1u; i < p.runs; i = i + 1u) {
        let q = part[i * p.c + c].xyz;
        let n = acc.z + q.z;
        let d = q.x - acc.x;
        acc = vec3<f32>(acc.x + d * (q.z / n), acc.y + q.y + d * d * (acc.z * q.z / n), n);
    }
    mean_out[c] = acc.x;
    var_out[c] = acc.y / acc.z;
}
#endif
#ifdef APPLY
#ifdef VEC4
alias E = vec4<f32>;
alias X = S4;
#else
alias E = f32;
alias X = S;
#endif
@group(0) @binding(0) var<storage, read> x: array<X>;
@group(0) @binding(1) var<storage, read> gamma: array<E>;
@group(0) @binding(2) var<storage, read> beta: array<E>;
@group(0) @binding(3) var<storage, read> mean: array<E>;
@group(0) @binding(4) var<storage, read> variance: array<E>;
@group(0) @binding(5) var<storage, read_write> y: array<X>;
#ifdef RESIDUAL
@group(0) @binding(6) var<storage, read> residual: array<X>;
#endif
@compute @workgroup_size(64)
fn apply(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let c = t % p.c;
    var v = (E(x[t]) - mean[c]) * (gamma[c] * inverseSqrt(variance[c] + E(p.eps))) + beta[c];
#ifdef RESIDUAL
    v = v + E(residual[t]);
#endif
#ifdef RELU
    v = max(v, E(0.0));
#endif
    y[t] = X(v);
}
#endif
