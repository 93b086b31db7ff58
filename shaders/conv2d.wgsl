// Convolution, NHWC and KRSC: y[n,p,q,k] = sum_{r,s,c} x[n, p*stride-pad+r, q*stride-pad+s, c] w[k,r,s,c].
// Implicit GEMM: rows = the n*p*q output pixels, columns = k, sums over r,s,c. A thread computes 4 pixels x 4 channels in registers;
// VEC4 (c a multiple of 4) reads x and w as vec4 along c. Pixels and channels beyond the edge are computed on clamped addresses and not stored.
// Grid: ceil(ceil(n*p*q/4) * ceil(k/4) / 64) groups, folded; p.total = number of threads with work.
#import grid
struct Params {
    n: u32, h: u32, w: u32, c: u32,
    p: u32, q: u32, k: u32, r: u32,
    s: u32, stride: u32, pad: u32, total: u32,
    first: u32, rows: u32, splits: u32, z: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
#ifdef VEC4
alias E = vec4<f32>;
const STEP = 4u;
#else
alias E = f32;
const STEP = 1u;
#endif
@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read> wt: array<E>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn mac(a: E, b: E) -> f32 {
#ifdef VEC4
    return dot(a, b);
#else
    return a * b;
#endif
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let kgroups = (p.k + 3u) / 4u;
    let k0 = (t % kgroups) * 4u;
    let m0 = (t / kgroups) * 4u;
    let pixels = p.n * p.p * p.q;
    var image: vec4<u32>;
    var top: vec4<i32>;
    var left: vec4<i32>;
    for (var i = 0u; i < 4u; i = i + 1u) {
        let m = min(m0 + i, pixels - 1u);
        image[i] = m / (p.p * p.q);
        let pq = m % (p.p * p.q);
        top[i] = i32((pq / p.q) * p.stride) - i32(p.pad);
        left[i] = i32((pq % p.q) * p.stride) - i32(p.pad);
    }
    let row = p.r * p.s * p.c / STEP;
    let w0 = min(k0, p.k - 1u) * row;
    let w1 = min(k0 + 1u, p.k - 1u) * row;
    let w2 = min(k0 + 2u, p.k - 1u) * row;
    let w3 = min(k0 + 3u, p.k - 1u) * row;
    let cs = p.c / STEP;
    var acc0 = vec4<f32>(0.0);
    var acc1 = vec4<f32>(0.0);
    var acc2 = vec4<f32>(0.0);
    var acc3 = vec4<f32>(0.0);
    for (var r = 0u; r < p.r; r = r + 1u) {
        for (var s = 0u; s < p.s; s = s + 1u) {
            let ih = top + vec4<i32>(i32(r));
            let iw = left + vec4<i32>(i32(s));
            let ok = (ih >= vec4<i32>(0)) & (ih < vec4<i32>(i32(p.h))) & (iw >= vec4<i32>(0)) & (iw < vec4<i32>(i32(p.w)));
            let base = select(vec4<u32>(0u), ((image * p.h + vec4<u32>(ih)) * p.w + vec4<u32>(iw)) * cs, ok);
            let mask = select(vec4<f32>(0.0), vec4<f32>(1.0), ok);
            let tap = (r * p.s + s) * cs;
            for (var c = 0u; c < cs; c = c + 1u) {
                let x0 = x[base.x + c] * mask.x;
                let x1 = x[base.y + c] * mask.y;
                let x2 = x[base.z + c] * mask.z;
                let x3 = x[base.w + c] * mask.w;
                let b0 = wt[w0 + tap + c];
                let b1 = wt[w1 + tap + c];
                let b2 = wt[w2 + tap + c];
                let b3 = wt[w3 + tap + c];
                acc0 = acc0 + vec4<f32>(mac(x0, b0), mac(x0, b1), mac(x0, b2), mac(x0, b3));
                acc1 = acc1 + vec4<f32>(mac(x1, b0), mac(x1, b1), mac(x1, b2), mac(x1, b3));
                acc2 = acc2 + vec4<f32>(mac(x2, b0), mac(x2, b1), mac(x2, b2), mac(x2, b3));
                acc3 = acc3 + vec4<f32>(mac(x3, b0), mac(x3, b1), mac(x3, b2), mac(x3, b3));
            }
        }
    }
    var rows = array<vec4<f32>, 4>(acc0, acc1, acc2, acc3);
    for (var i = 0u; i < 4u; i = i + 1u) {
        for (var j = 0u; j < 4u; j = j + 1u) {
            if m0 + i < pixels && k0 + j < p.k { y[(m0 + i) * p.k + k0 + j] = rows[i][j]; }
        }
    }
}
