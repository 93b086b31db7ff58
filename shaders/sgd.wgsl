// SGD with momentum, PyTorch's semantics, over a flat group of parameters:
//   g = clip * grad + wd * w; v = m v + g; w = w - lr * v (NESTEROV: w - lr (g + m v)), with lr = step.lr * multiplier.
// Every 64 elements belong to one segment (parameter tensor): table[segment] = (lr multiplier, weight decay, trust, 0).
// A positive trust ratio (LARS, lars_trust.wgsl) multiplies g; 0 or less: none.
// clip = min(1, max_norm / (|grad| + 1e-6)) (torch.nn.utils.clip_grad_norm_), norm2 = |grad|^2 over all parameters.
// A non-finite norm, or halt already set, leaves everything as it is; `latch` then sets halt to step + 1, after this
// kernel.
// A thread four elements (16 threads a segment's block): p.n counts fours. Grid: ceil(p.n / 256) groups, folded;
// latch: one group.
#import grid
#import step
struct Params { n: u32, momentum: f32, max_norm: f32, r: u32 }
@group(1) @binding(0) var<uniform> p: Params;
#ifdef LATCH
@group(0) @binding(0) var<storage, read> norm2: array<f32>;
@group(0) @binding(1) var<storage, read_write> halt: array<u32>;
@compute @workgroup_size(1)
fn latch() {
    // By bits: a compiler may assume that floats are finite.
    if (bitcast<u32>(norm2[0]) & 0x7f800000u) == 0x7f800000u && halt[0] == 0u { halt[0] = step.step + 1u + 0u * p.n; }
}
#else
@group(0) @binding(0) var<storage, read> grad: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> norm2: array<f32>;
@group(0) @binding(2) var<storage, read> segment: array<u32>;
@group(0) @binding(3) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> halt: array<u32>;
@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = group_index(wid, nwg) * 256u + lid.x;
    if i >= p.n { return; }
    // Read before it is known whether they are wanted, so that these reads and those of the guard do not wait for
    // each other.
    let g = grad[i];
    let w0 = w[i];
    let v0 = v[i];
    let row = table[segment[i / 16u]];
    if halt[0] != 0u || (bitcast<u32>(norm2[0]) & 0x7f800000u) == 0x7f800000u { return; }
    var clip = 1.0;
    if p.max_norm > 0.0 { clip = min(1.0, p.max_norm / (sqrt(norm2[0]) + 1e-6)); }
    let d = select(1.0, row.z, row.z > 0.0) * fma(vec4<f32>(row.y), w0, clip * g);
    let m = fma(vec4<f32>(p.momentum), v0, d);
    v[i] = m;
#ifdef NESTEROV
    w[i] = w0 - step.lr * row.x * fma(vec4<f32>(p.momentum), m, d);
#else
    w[i] = w0 - step.lr * row.x * m;
#endif
}
#endif
