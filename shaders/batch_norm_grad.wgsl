// Gradient of batch normalisation in training mode, with xhat = (x - mean) / sqrt(var + eps) and g = dy where y > 0
// or a NaN (RELU), or dy:
//   dbeta = sum g, dgamma = sum g xhat, dx = gamma / sqrt(var + eps) (g - dbeta/M - xhat dgamma/M), dresidual = g
//   (RESIDUAL).
// Where no residual went into y its sign is that of gamma xhat + beta, made of x, which is read anyway: 5 tensors are
// read or written (behind a residual 7).
// `partial`: a group a (run of p.rows rows, p.lanes columns) sums (g, g xhat); part[(first+run)*C + channel]. A
// thread adds its rows in order, the threads of a column are
//   added in a tree. With RELU and RESIDUAL it writes g, which is dresidual, and `apply` reads that instead of dy and
//   y.
// `combine`: a group a channel adds its runs (256 threads stride, then a tree) and packs what `apply` needs, since
// that may bind 8 tensors at most:
//   factors [4,C] = (gamma / sqrt(var+eps), mean, dbeta/M, dgamma/M / sqrt(var+eps)).
// `factors_of_sums`: the same of sums that are given, for statistics that are of other rows too (M counts them all);
// a thread a channel.
// `apply`: a thread 4 or 8 elements of one column (lib/channels.wgsl).
// HALF: dy, x, y, dx and dresidual lie in f16 (g is rounded by nothing: it is dy or zero).
// Grid: as batch_norm.wgsl; factors_of_sums ceil(C / 256).
#import channels
#import clamp
#ifdef PARTIAL
@group(0) @binding(0) var<storage, read> dy: array<X>;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read> mean: array<E>;
@group(0) @binding(3) var<storage, read> variance: array<E>;
@group(0) @binding(4) var<storage, read_write> part: array<vec2<f32>>;
#ifdef RELU
#ifdef RESIDUAL
@group(0) @binding(5) var<storage, read> y: array<X>;
@group(0) @binding(6) var<storage, read_write> dr: array<X>;
#else
@group(0) @binding(5) var<storage, read> beta: array<E>;
@group(0) @binding(6) var<storage, read> gamma: array<E>;
#endif
#endif
var<workgroup> lane_g: array<E, 256>;
var<workgroup> lane_gx: array<E, 256>;
fn keep(i: u32, g: X) {
#ifdef RELU
#ifdef RESIDUAL
    dr[i] = g;
#endif
#endif
}
@compute @workgroup_size(256)
fn partial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let group = group_index(wid, nwg);
    if group >= p.groups { return; }
    let l = lid.x;
    let w = walk(group, l);
    var s = E(0.0);
    var sx = E(0.0);
    if w.count > 0u {
        var f = Factors();
        f.mean = mean[w.column];
        let inv = inverseSqrt(variance[w.column] + E(p.eps));
#ifdef RELU
#ifndef RESIDUAL
        f.scale = gamma[w.column] * inv;
        f.beta = beta[w.column];
#endif
#endif
        var i = w.at;
        var k = 0u;
        var v: array<X, FLIGHT>;
        var d: array<X, FLIGHT>;
        for (; k + FLIGHT <= w.count; k = k + FLIGHT) {
            for (var u = 0u; u < FLIGHT; u = u + 1u) {
                let at = i + u * w.step;
                v[u] = x[at];
                d[u] = upstream(at, v[u], f);
            }
            var t = E(0.0);
            var tx = E(0.0);
            for (var u = 0u; u < FLIGHT; u = u + 1u) {
                let g = E(d[u]);
                t = t + g;
                tx = fma(g, E(v[u]) - f.mean, tx);
                keep(i + u * w.step, d[u]);
            }
            s = s + t;
            sx = sx + tx;
            i = i + FLIGHT * w.step;
        }
        for (; k < w.count; k = k + 1u) {
            let value = x[i];
            let g = upstream(i, value, f);
            s = s + E(g);
            sx = fma(E(g), E(value) - f.mean, sx);
            keep(i, g);
            i = i + w.step;
        }
        // Centred above, scaled once here.
        sx = sx * inv;
    }
    lane_g[l] = s;
    lane_gx[l] = sx;
    workgroupBarrier();
    for (var n = 256u / p.lanes; n > 1u; n = (n + 1u) / 2u) {
        let h = (n + 1u) / 2u;
        if w.lane + h < n {
            lane_g[l] = lane_g[l] + lane_g[l + h * p.lanes];
            lane_gx[l] = lane_gx[l] + lane_gx[l + h * p.lanes];
        }
        workgroupBarrier();
    }
    if w.lane == 0u && w.column < p.c {
        let g = lane_g[l];
        let gx = lane_gx[l];
#ifdef VEC4
        let at = ((p.first + w.run) * p.c + w.column) * 4u;
        part[at] = vec2<f32>(g.x, gx.x);
        part[at + 1u] = vec2<f32>(g.y, gx.y);
        part[at + 2u] = vec2<f32>(g.z, gx.z);
        part[at + 3u] = vec2<f32>(g.w, gx.w);
#else
        part[(p.first + w.run) * p.c + w.column] = vec2<f32>(g, gx);
#endif
    }
}
#endif
#ifdef COMBINE
@group(0) @binding(0) var<storage, read> part: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> gamma: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> variance: array<f32>;
@group(0) @binding(4) var<storage, read_write> dgamma: array<f32>;
@group(0) @binding(5) var<storage, read_write> dbeta: array<f32>;
@group(0) @binding(6) var<storage, read_write> factors: array<f32>;
var<workgroup> lane: array<vec2<f32>, 256>;
@compute @workgroup_size(256)
fn combine(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let c = group_index(wid, nwg);
    if c >= p.groups { return; }
    let l = lid.x;
    var own = vec2<f32>(0.0);
    for (var i = l; i < p.runs; i = i + 256u) { own = own + part[i * p.c + c]; }
    lane[l] = own;
    workgroupBarrier();
    for (var n = min(p.runs, 256u); n > 1u; n = (n + 1u) / 2u) {
        let h = (n + 1u) / 2u;
        if l + h < n { lane[l] = lane[l] + lane[l + h]; }
        workgroupBarrier();
    }
    if l == 0u {
        let s = lane[0];
        dbeta[c] = s.x;
        dgamma[c] = s.y;
        put_factors(c, s.x, s.y);
    }
}
#endif
#ifdef FACTORS
@group(0) @binding(0) var<storage, read> gamma: array<f32>;
@group(0) @binding(1) var<storage, read> mean: array<f32>;
@group(0) @binding(2) var<storage, read> variance: array<f32>;
@group(0) @binding(3) var<storage, read> dgamma: array<f32>;
@group(0) @binding(4) var<storage, read> dbeta: array<f32>;
@group(0) @binding(5) var<storage, read_write> factors: array<f32>;
@compute @workgroup_size(256)
fn factors_of_sums(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let c = group_index(wid, nwg) * 256u + lid.x;
    if c < p.c { put_factors(c, dbeta[c], dgamma[c]); }
}
#endif
#ifndef PARTIAL
#ifndef APPLY
// The factors of channel c from sum g and sum g xhat.
fn put_factors(c: u32, sum: f32, sum_x: f32) {
    let inv = inverseSqrt(variance[c] + p.eps);
    factors[c] = gamma[c] * inv;
    factors[p.c + c] = mean[c];
    factors[2u * p.c + c] = sum * p.inv_m;
    factors[3u * p.c + c] = sum_x * p.inv_m * inv;
}
#endif
#endif
#ifdef APPLY
@group(0) @binding(0) var<storage, read> dy: array<X>;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read> factors: array<E>;
@group(0) @binding(3) var<storage, read_write> dx: array<X>;
#ifdef RELU
@group(0) @binding(4) var<storage, read> beta: array<E>;
#endif
// Never with RELU: `partial` has written it then.
#ifdef RESIDUAL
@group(0) @binding(4) var<storage, read_write> dr: array<X>;
#endif
fn write(i: u32, g: X, v: X, f: Factors) {
#ifdef RESIDUAL
    dr[i] = g;
#endif
    dx[i] = X(f.scale * (E(g) - f.shift - (E(v) - f.mean) * f.slope));
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
    var f = Factors(factors[c], factors[p.c + c], factors[2u * p.c + c], factors[3u * p.c + c], E(0.0));
#ifdef RELU
    f.beta = beta[c];
#endif
    var v: array<X, FLIGHT>;
    var g: array<X, FLIGHT>;
    for (var turn = 0u; turn < p.rounds; turn = turn + 1u) {
        if i + (FLIGHT - 1u) * p.span < p.size {
            // All reads before the first write.
            for (var u = 0u; u < FLIGHT; u = u + 1u) {
                v[u] = x[i + u * p.span];
                g[u] = upstream(i + u * p.span, v[u], f);
            }
            for (var u = 0u; u < FLIGHT; u = u + 1u) { write(i + u * p.span, g[u], v[u], f); }
        } else {
            for (var j = i; j < p.size; j = j + p.span) { write(j, upstream(j, x[j], f), x[j], f); }
            return;
        }
        i = i + FLIGHT * p.span;
    }
}
#endif
#ifndef COMBINE
#ifndef FACTORS
// Of a column. `partial` leaves shift and slope, and behind a residual scale and beta, at zero.
struct Factors { scale: E, mean: E, shift: E, slope: E, beta: E }
// g at an element of value v: dy or zero, so nothing is rounded where it lies in f16.
fn upstream(i: u32, v: X, f: Factors) -> X {
    let g = dy[i];
#ifdef RELU
#ifdef RESIDUAL
    return select(X(0.0), g, lets_through(E(y[i])));
#else
    return select(X(0.0), g, lets_through(affine(v, f.mean, f.scale, f.beta)));
#endif
#else
    return g;
#endif
}
#endif
#endif
