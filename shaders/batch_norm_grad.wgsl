// Gradient of batch normalisation in training mode, with xhat = (x - mean) / sqrt(var + eps) and g = dy where y > 0 (RELU) or dy:
//   dbeta = sum g, dgamma = sum g xhat, dx = gamma / sqrt(var + eps) (g - dbeta/M - xhat dgamma/M), dresidual = g (RESIDUAL).
// `partial`: a thread a (run of rows, channel) sums (g, g xhat); `combine`: a thread a channel adds the runs in order; `apply`: a thread an element.
// HALF: dy, x, y, dx and dresidual lie in f16.
// Grid: as batch_norm.wgsl.
#import grid
#import storage
struct Params { m: u32, c: u32, rows: u32, first: u32, total: u32, runs: u32, eps: f32, inv_m: f32 }
@group(1) @binding(0) var<uniform> p: Params;
#ifdef PARTIAL
@group(0) @binding(0) var<storage, read> dy: array<S>;
@group(0) @binding(1) var<storage, read> x: array<S>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> variance: array<f32>;
@group(0) @binding(4) var<storage, read_write> part: array<vec2<f32>>;
#ifdef RELU
@group(0) @binding(5) var<storage, read> y: array<S>;
#endif
@compute @workgroup_size(64)
fn partial(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let c = t % p.c;
    let start = (t / p.c) * p.rows;
    let end = min(p.m, start + p.rows);
    let mu = mean[c];
    let inv = inverseSqrt(variance[c] + p.eps);
    var s = vec2<f32>(0.0);
    for (var i = start; i < end; i = i + 1u) {
        let at = i * p.c + c;
        var g = f32(dy[at]);
#ifdef RELU
        g = select(0.0, g, f32(y[at]) > 0.0);
#endif
        s = s + vec2<f32>(g, g * ((f32(x[at]) - mu) * inv));
    }
    part[p.first * p.c + t] = s;
}
#endif
#ifdef COMBINE
@group(0) @binding(0) var<storage, read> part: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> dgamma: array<f32>;
@group(0) @binding(2) var<storage, read_write> dbeta: array<f32>;
@compute @workgroup_size(64)
fn combine(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let c = group_index(wid, nwg) * 64u + lid.x;
    if c >= p.total { return; }
    var s = vec2<f32>(0.0);
    for (var i = 0u; i < p.runs; i = i + 1u) { s = s + part[i * p.c + c]; }
    dbeta[c] = s.x;
    dgamma[c] = s.y;
}
#endif
#ifdef STATS
// stats[c] = (gamma/sqrt(var+eps), mean, 1/sqrt(var+eps), dbeta/M), then dgamma/M at C + c: packs six vectors into one binding for `apply`.
@group(0) @binding(0) var<storage, read> gamma: array<f32>;
@group(0) @binding(1) var<storage, read> mean: array<f32>;
@group(0) @binding(2) var<storage, read> variance: array<f32>;
@group(0) @binding(3) var<storage, read> dgamma: array<f32>;
@group(0) @binding(4) var<storage, read> dbeta: array<f32>;
@group(0) @binding(5) var<storage, read_write> stats: array<vec4<f32>>;
@compute @workgroup_size(64)
fn pack(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let c = group_index(wid, nwg) * 64u + lid.x;
    if c >= p.total { return; }
    let inv = inverseSqrt(variance[c] + p.eps);
    stats[2u * c] = vec4<f32>(gamma[c] * inv, mean[c], inv, dbeta[c] * p.inv_m);
    stats[2u * c + 1u] = vec4<f32>(dgamma[c] * p.inv_m, 0.0, 0.0, 0.0);
}
#endif
#ifdef APPLY
@group(0) @binding(0) var<storage, read> dy: array<S>;
@group(0) @binding(1) var<storage, read> x: array<S>;
@group(0) @binding(2) var<storage, read> stats: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<S>;
#ifdef RELU
@group(0) @binding(4) var<storage, read> y: array<S>;
#ifdef RESIDUAL
@group(0) @binding(5) var<storage, read_write> dr: array<S>;
#endif
#else
#ifdef RESIDUAL
@group(0) @binding(4) var<storage, read_write> dr: array<S>;
#endif
#endif
@compute @workgroup_size(64)
fn apply(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let c = t % p.c;
    let s = stats[2u * c];
    var g = f32(dy[t]);
#ifdef RELU
    g = select(0.0, g, f32(y[t]) > 0.0);
#endif
#ifdef RESIDUAL
    dr[t] = S(g);
#endif
    dx[t] = S(s.x * (g - s.w - ((f32(x[t]) - s.y) * s.z) * stats[2u * c + 1u].x));
}
#endif
