// Convolution, NHWC and KRSC: y[n,p,q,k] = sum_{r,s,c} x[n, p*stride-pad+r, q*stride-pad+s, c] w[k,r,s,c].
// Its gradient by w: dw[k,r,s,c] = sum_{n,p,q} dy[n,p,q,k] x[n, p*stride-pad+r, q*stride-pad+s, c].
// Split-K: the n*p*q pixels are cut into p.splits runs of p.rows; `partial` writes part[first+split][k,r,s,c], `total` adds the parts in order.
// A thread of `partial` computes 4 k x 4 c at one (r,s) of one split; VEC_K, VEC_C: that dimension is a multiple of 4 and is read as vec4.
// `shared_k` (SHARED_K; c a multiple of 4), for drivers that run on CPUs: a group shares 8 k, whose dy are read once for its 64 positions (r,s,4c).
// Grid: shared_k splits * ceil(k/8) * ceil(r*s*c/4 / 64), p.total = number of groups; partial ceil(splits*r*s*ceil(k/4)*ceil(c/4) / 64), total ceil(k*r*s*c / 64), folded.
#import grid
struct Params {
    n: u32, h: u32, w: u32, c: u32,
    p: u32, q: u32, k: u32, r: u32,
    s: u32, stride: u32, pad: u32, total: u32,
    first: u32, rows: u32, splits: u32, z: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
#ifdef TOTAL
@group(0) @binding(0) var<storage, read> part: array<f32>;
@group(0) @binding(1) var<storage, read_write> dw: array<f32>;
@compute @workgroup_size(64)
fn total(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    var s = 0.0;
    for (var i = 0u; i < p.splits; i = i + 1u) { s = s + part[i * p.total + t]; }
    dw[t] = s;
}
#else
#ifdef VEC_C
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
#else
@group(0) @binding(0) var<storage, read> x: array<f32>;
#endif
#ifdef VEC_K
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> dy: array<f32>;
#endif
@group(0) @binding(2) var<storage, read_write> part: array<f32>;

fn load_x(at: u32, c0: u32) -> vec4<f32> {
#ifdef VEC_C
    return x[(at + c0) / 4u];
#else
    let l = p.c - 1u;
    return vec4<f32>(x[at + min(c0, l)], x[at + min(c0 + 1u, l)], x[at + min(c0 + 2u, l)], x[at + min(c0 + 3u, l)]);
#endif
}
fn load_dy(at: u32, k0: u32) -> vec4<f32> {
#ifdef VEC_K
    return dy[(at + k0) / 4u];
#else
    let l = p.k - 1u;
    return vec4<f32>(dy[at + min(k0, l)], dy[at + min(k0 + 1u, l)], dy[at + min(k0 + 2u, l)], dy[at + min(k0 + 3u, l)]);
#endif
}

#ifdef SHARED_K
// dy[m, k]; k beyond the end may be any of the row's, its result is not stored.
fn shared_dy(at: u32, k: u32) -> vec4<f32> { return load_dy(at, min(k, p.k - min(p.k, 4u))); }

@compute @workgroup_size(64)
fn shared_k(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let g = group_index(wid, nwg);
    if g >= p.total { return; }
    let positions = p.r * p.s * p.c / 4u;
    let blocks = (positions + 63u) / 64u;
    let kgroups = (p.k + 7u) / 8u;
    let t = (g % blocks) * 64u + lid.x;
    let k0 = ((g / blocks) % kgroups) * 8u;
    let split = g / blocks / kgroups;
    let position = min(t, positions - 1u);
    let c0 = (position % (p.c / 4u)) * 4u;
    let rs = position / (p.c / 4u);
    let r = rs / p.s;
    let s = rs % p.s;
    let end = min(p.n * p.p * p.q, (split + 1u) * p.rows);
    var acc0 = vec4<f32>(0.0);
    var acc1 = vec4<f32>(0.0);
    var acc2 = vec4<f32>(0.0);
    var acc3 = vec4<f32>(0.0);
    var acc4 = vec4<f32>(0.0);
    var acc5 = vec4<f32>(0.0);
    var acc6 = vec4<f32>(0.0);
    var acc7 = vec4<f32>(0.0);
    let start = split * p.rows;
    var n = start / (p.p * p.q);
    var oh = (start / p.q) % p.p;
    var ow = start % p.q;
    for (var m = start; m < end; m = m + 1u) {
        let ih = i32(oh * p.stride + r) - i32(p.pad);
        let iw = i32(ow * p.stride + s) - i32(p.pad);
        let ok = ih >= 0 && ih < i32(p.h) && iw >= 0 && iw < i32(p.w);
        let xv = load_x(select(0u, ((n * p.h + u32(ih)) * p.w + u32(iw)) * p.c, ok), c0) * select(0.0, 1.0, ok);
        let d = load_dy(m * p.k, k0);
        let e = shared_dy(m * p.k, k0 + 4u);
        acc0 = fma(vec4<f32>(d.x), xv, acc0);
        acc1 = fma(vec4<f32>(d.y), xv, acc1);
        acc2 = fma(vec4<f32>(d.z), xv, acc2);
        acc3 = fma(vec4<f32>(d.w), xv, acc3);
        acc4 = fma(vec4<f32>(e.x), xv, acc4);
        acc5 = fma(vec4<f32>(e.y), xv, acc5);
        acc6 = fma(vec4<f32>(e.z), xv, acc6);
        acc7 = fma(vec4<f32>(e.w), xv, acc7);
        ow = ow + 1u;
        if ow == p.q {
            ow = 0u;
            oh = oh + 1u;
            if oh == p.p {
                oh = 0u;
                n = n + 1u;
            }
        }
    }
    if t >= positions { return; }
    var rows = array<vec4<f32>, 8>(acc0, acc1, acc2, acc3, acc4, acc5, acc6, acc7);
    let size = p.k * p.r * p.s * p.c;
    for (var i = 0u; i < 8u; i = i + 1u) {
        if k0 + i >= p.k { break; }
        for (var j = 0u; j < 4u; j = j + 1u) {
            part[(p.first + split) * size + (((k0 + i) * p.r + r) * p.s + s) * p.c + c0 + j] = rows[i][j];
        }
    }
}
#else
@compute @workgroup_size(64)
fn partial(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let cgroups = (p.c + 3u) / 4u;
    let kgroups = (p.k + 3u) / 4u;
    let c0 = (t % cgroups) * 4u;
    let t1 = t / cgroups;
    let s = t1 % p.s;
    let t2 = t1 / p.s;
    let r = t2 % p.r;
    let t3 = t2 / p.r;
    let k0 = (t3 % kgroups) * 4u;
    let split = t3 / kgroups;
    let end = min(p.n * p.p * p.q, (split + 1u) * p.rows);
    var acc0 = vec4<f32>(0.0);
    var acc1 = vec4<f32>(0.0);
    var acc2 = vec4<f32>(0.0);
    var acc3 = vec4<f32>(0.0);
    // The pixel's position is advanced, not divided out, inside the loop.
    let start = split * p.rows;
    var n = start / (p.p * p.q);
    var oh = (start / p.q) % p.p;
    var ow = start % p.q;
    for (var m = start; m < end; m = m + 1u) {
        let ih = i32(oh * p.stride + r) - i32(p.pad);
        let iw = i32(ow * p.stride + s) - i32(p.pad);
        if ih >= 0 && ih < i32(p.h) && iw >= 0 && iw < i32(p.w) {
            let xv = load_x(((n * p.h + u32(ih)) * p.w + u32(iw)) * p.c, c0);
            let d = load_dy(m * p.k, k0);
            acc0 = fma(vec4<f32>(d.x), xv, acc0);
            acc1 = fma(vec4<f32>(d.y), xv, acc1);
            acc2 = fma(vec4<f32>(d.z), xv, acc2);
            acc3 = fma(vec4<f32>(d.w), xv, acc3);
        }
        ow = ow + 1u;
        if ow == p.q {
            ow = 0u;
            oh = oh + 1u;
            if oh == p.p {
                oh = 0u;
                n = n + 1u;
            }
        }
    }
    var rows = array<vec4<f32>, 4>(acc0, acc1, acc2, acc3);
    let size = p.k * p.r * p.s * p.c;
    for (var i = 0u; i < 4u; i = i + 1u) {
        for (var j = 0u; j < 4u; j = j + 1u) {
            if k0 + i < p.k && c0 + j < p.c {
                part[(p.first + split) * size + (((k0 + i) * p.r + r) * p.s + s) * p.c + c0 + j] = rows[i][j];
            }
        }
    }
}
#endif
#endif
