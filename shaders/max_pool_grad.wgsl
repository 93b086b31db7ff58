// dx[n,h,w,c] = sum of dy[n,i,j,c] over the windows (i,j) that hold (h,w) and whose argmax is h*W + w.
// Gathered, so that overlapping windows add in a fixed order. dx [N,H,W,C], dy and argmax [N,OH,OW,C].
// HALF: dy and dx lie in f16. A thread an element of dx. Grid: ceil(N*H*W*C / 64) groups, folded.
#import grid
#import storage
struct Params {
    h: u32, w: u32, c: u32, oh: u32, ow: u32, kernel: u32, stride: u32, padding: u32, total: u32, r0: u32, r1: u32,
    r2: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> dy: array<S>;
@group(0) @binding(1) var<storage, read> argmax: array<u32>;
@group(0) @binding(2) var<storage, read_write> dx: array<S>;

// First window that reaches padded coordinate q: the least i with i*stride + kernel > q.
fn first(q: u32) -> u32 {
    return select(0u, (q - p.kernel) / p.stride + 1u, q >= p.kernel);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let c = t % p.c;
    let pixel = t / p.c;
    let w = pixel % p.w;
    let h = (pixel / p.w) % p.h;
    let image = pixel / (p.w * p.h) * p.oh * p.ow;
    let at = h * p.w + w;
    let bottom = min((h + p.padding) / p.stride + 1u, p.oh);
    let right = min((w + p.padding) / p.stride + 1u, p.ow);
    var s = 0.0;
    for (var i = first(h + p.padding); i < bottom; i = i + 1u) {
        for (var j = first(w + p.padding); j < right; j = j + 1u) {
            let o = (image + i * p.ow + j) * p.c + c;
            if argmax[o] == at { s = s + f32(dy[o]); }
        }
    }
    dx[t] = S(s);
}
