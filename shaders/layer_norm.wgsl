// Layer normalisation of each row of length D: y = (x - mean) rstd w + b, rstd = 1 / sqrt(variance + eps), eps = p.a,
// the variance being the mean square of x - mean.
// The mean m that a first pass gives is rounded. So x - m has a mean of its own, delta, which is taken off: with it a
// constant row gives b, and a mean far above the deviation costs no digits. The variance is mean (x - m)^2 - delta^2,
// where delta is a rounding error, so that nothing cancels.
// Outputs: y (HALF: f16), mean and rstd of every row.
// SERIAL, for drivers that run on CPUs, where barriers are dear: a thread a row, ceil(rows / 64) groups. Otherwise a
// group of 64 threads a row (lib/wide_row.wgsl). Grids are folded.
#import wide_row
#import storage
struct Params { rows: u32, d: u32, a: f32, b: f32 }
@group(1) @binding(0) var<uniform> p: Params;
#ifdef VEC4
alias Y = S4;
#else
alias Y = S;
#endif
@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read> w: array<E>;
@group(0) @binding(2) var<storage, read> b: array<E>;
@group(0) @binding(3) var<storage, read_write> y: array<Y>;
@group(0) @binding(4) var<storage, read_write> mean: array<f32>;
@group(0) @binding(5) var<storage, read_write> rstd: array<f32>;

// The mean's rounding error and 1 / deviation, from the sums of x - m and of its square.
fn moments(sums: vec2<f32>) -> vec2<f32> {
    let q = sums / f32(p.d);
    return vec2<f32>(q.x, inverseSqrt(max(q.y - q.x * q.x, 0.0) + p.a));
}

#ifdef SERIAL
@compute @workgroup_size(64)
fn serial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let row = group_index(wid, nwg) * 64u + lid.x;
    if row >= p.rows { return; }
    let width = p.d / WIDE;
    let at = row * width;
    var s = E(0.0);
    for (var c = 0u; c < width; c = c + 1u) { s = s + x[at + c]; }
    let m = across(s) / f32(p.d);
    var one = E(0.0);
    var two = E(0.0);
    for (var c = 0u; c < width; c = c + 1u) {
        let v = x[at + c] - E(m);
        one = one + v;
        two = fma(v, v, two);
    }
    let f = moments(vec2<f32>(across(one), across(two)));
    for (var c = 0u; c < width; c = c + 1u) { y[at + c] = Y(fma((x[at + c] - E(m) - E(f.x)) * f.y, w[c], b[c])); }
    mean[row] = m + f.x;
    rstd[row] = f.y;
}
#else
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let row = group_index(wid, nwg);
    if row >= p.rows { return; }
    let l = lid.x;
    let width = p.d / WIDE;
    let at = row * width;
    var v: array<E, KEEP>;
    var s = 0.0;
    for (var i = 0u; i < KEEP; i = i + 1u) {
        let c = l + i * 64u;
        if c < width {
            v[i] = x[at + c];
            s = s + across(v[i]);
        }
    }
    let m = row_sums(l, vec2<f32>(s, 0.0)).x / f32(p.d);
    var sums = vec2<f32>(0.0);
    for (var i = 0u; i < KEEP; i = i + 1u) {
        if l + i * 64u < width {
            v[i] = v[i] - E(m);
            sums = sums + vec2<f32>(across(v[i]), across(v[i] * v[i]));
        }
    }
    let f = moments(row_sums(l, sums));
    for (var i = 0u; i < KEEP; i = i + 1u) {
        let c = l + i * 64u;
        if c < width { y[at + c] = Y(fma((v[i] - E(f.x)) * f.y, w[c], b[c])); }
    }
    if l == 0u {
        mean[row] = m + f.x;
        rstd[row] = f.y;
    }
}
#endif
