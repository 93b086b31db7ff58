// Convolution, NHWC and KRSC: y[n,p,q,k] = sum_{r,s,c} x[n, p*stride-pad+r, q*stride-pad+s, c] w[k,r,s,c].
// Its gradient by x: dx[n,h,w,c] = sum_{r,s,k} dy[n,p,q,k] w[k,r,s,c] over p*stride = h+pad-r, q*stride = w+pad-s.
// A thread computes 4 pixels x 4 channels c (a group of threads shares pixels); VEC4: c is a multiple of 4, so w is read as vec4 along c.
// Grid: ceil(ceil(n*h*w/4) * ceil(c/4) / 64) groups, folded.
#import grid
struct Params {
    n: u32, h: u32, w: u32, c: u32,
    p: u32, q: u32, k: u32, r: u32,
    s: u32, stride: u32, pad: u32, total: u32,
    first: u32, rows: u32, splits: u32, z: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> dy: array<f32>;
#ifdef VEC4
@group(0) @binding(1) var<storage, read> wt: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> wt: array<f32>;
#endif
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

// w[k, r, s, c0..c0+4]
fn weights(at: u32, c0: u32) -> vec4<f32> {
#ifdef VEC4
    return wt[(at + c0) / 4u];
#else
    let last = p.c - 1u;
    return vec4<f32>(wt[at + min(c0, last)], wt[at + min(c0 + 1u, last)], wt[at + min(c0 + 2u, last)], wt[at + min(c0 + 3u, last)]);
#endif
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let cgroups = (p.c + 3u) / 4u;
    let c0 = (t % cgroups) * 4u;
    let m0 = (t / cgroups) * 4u;
    let pixels = p.n * p.h * p.w;
    var image: vec4<u32>;
    var ph: vec4<i32>;
    var pw: vec4<i32>;
    for (var i = 0u; i < 4u; i = i + 1u) {
        let m = min(m0 + i, pixels - 1u);
        image[i] = m / (p.h * p.w);
        let hw = m % (p.h * p.w);
        ph[i] = i32(hw / p.w + p.pad);
        pw[i] = i32(hw % p.w + p.pad);
    }
    let stride = vec4<i32>(i32(p.stride));
    var acc0 = vec4<f32>(0.0);
    var acc1 = vec4<f32>(0.0);
    var acc2 = vec4<f32>(0.0);
    var acc3 = vec4<f32>(0.0);
    for (var r = 0u; r < p.r; r = r + 1u) {
        for (var s = 0u; s < p.s; s = s + 1u) {
            let a = ph - vec4<i32>(i32(r));
            let b = pw - vec4<i32>(i32(s));
            let oh = a / stride;
            let ow = b / stride;
            let ok = (a >= vec4<i32>(0)) & (b >= vec4<i32>(0)) & (oh * stride == a) & (ow * stride == b)
                & (oh < vec4<i32>(i32(p.p))) & (ow < vec4<i32>(i32(p.q)));
            if !any(ok) { continue; }
            let base = select(vec4<u32>(0u), ((image * p.p + vec4<u32>(oh)) * p.q + vec4<u32>(ow)) * p.k, ok);
            let mask = select(vec4<f32>(0.0), vec4<f32>(1.0), ok);
            for (var k = 0u; k < p.k; k = k + 1u) {
                let wv = weights(((k * p.r + r) * p.s + s) * p.c, c0);
                acc0 = fma(vec4<f32>(dy[base.x + k] * mask.x), wv, acc0);
                acc1 = fma(vec4<f32>(dy[base.y + k] * mask.y), wv, acc1);
                acc2 = fma(vec4<f32>(dy[base.z + k] * mask.z), wv, acc2);
                acc3 = fma(vec4<f32>(dy[base.w + k] * mask.w), wv, acc3);
            }
        }
    }
    var rows = array<vec4<f32>, 4>(acc0, acc1, acc2, acc3);
    for (var i = 0u; i < 4u; i = i + 1u) {
        for (var j = 0u; j < 4u; j = j + 1u) {
            if m0 + i < pixels && c0 + j < p.c { dx[(m0 + i) * p.c + c0 + j] = rows[i][j]; }
        }
    }
}
