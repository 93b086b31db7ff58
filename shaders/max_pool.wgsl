// y[n,i,j,c] = max over the window of x[n, i*stride - padding + r, j*stride - padding + s, c], padding counting as
// -inf;
// argmax[n,i,j,c] = h*W + w of the first maximum in row-major order. A NaN in the window wins, as in PyTorch.
// HALF: x and y lie in f16. x [N,H,W,C], y and argmax [N,OH,OW,C]. A thread an output element. Grid: ceil(N*OH*OW*C /
// 64) groups, folded.
#import grid
#import storage
#import nan
struct Params {
    h: u32, w: u32, c: u32, oh: u32, ow: u32, kernel: u32, stride: u32, padding: u32, total: u32, r0: u32, r1: u32,
    r2: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> x: array<S>;
@group(0) @binding(1) var<storage, read_write> y: array<S>;
@group(0) @binding(2) var<storage, read_write> argmax: array<u32>;
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
    let j = pixel % p.ow;
    let i = (pixel / p.ow) % p.oh;
    let image = pixel / (p.ow * p.oh) * p.h * p.w;
    // In padded coordinates, clamped to the real rows and columns.
    let top = max(i * p.stride, p.padding) - p.padding;
    let left = max(j * p.stride, p.padding) - p.padding;
    let bottom = min(i * p.stride + p.kernel - p.padding, p.h);
    let right = min(j * p.stride + p.kernel - p.padding, p.w);
    var at = top * p.w + left;
    // Is `best` a NaN? No number is larger than that.
    var found = false;
    var best = f32(x[(image + at) * p.c + c]);
    for (var h = top; h < bottom; h = h + 1u) {
        for (var w = left; w < right; w = w + 1u) {
            let v = f32(x[(image + h * p.w + w) * p.c + c]);
            let nan = is_nan(v);
            if nan || (v > best && !found) {
                found = found || nan;
                best = v;
                at = h * p.w + w;
            }
        }
    }
    y[t] = S(best);
    argmax[t] = at;
}
