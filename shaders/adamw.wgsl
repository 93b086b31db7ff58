// AdamW (decoupled weight decay), PyTorch's semantics, over a flat group of parameters, t = step.step + 1:
//   g = clip * grad; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
//   w = w (1 - lr wd) - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps), with lr = step.lr * multiplier.
// Segments, clipping and the non-finite guard as in sgd.wgsl: table[segment] = (lr multiplier, weight decay, _, _).
// In mixed precision a skipped step counts in t though the moments stand still (PyTorch's GradScaler does not call
// the optimiser then).
// A thread four elements (16 threads a segment's block): p.n counts fours. Grid: ceil(p.n / 256) groups, folded;
// latch: one group.
#import grid
#import step
struct Params { n: u32, beta1: f32, beta2: f32, log_beta1: f32, log_beta2: f32, eps: f32, max_norm: f32, r: u32 }
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
@group(0) @binding(5) var<storage, read_write> m: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> halt: array<u32>;

// 1 - beta^t from x = t ln beta, without the cancellation that the plain form has in the first steps.
fn correction(x: f32) -> f32 {
    if x < -0.25 { return 1.0 - exp(x); }
    return -x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0 * (1.0 + x / 6.0)))));
}

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
    let g0 = grad[i];
    let w0 = w[i];
    let m0 = m[i];
    let v0 = v[i];
    let row = table[segment[i / 16u]];
    if halt[0] != 0u || (bitcast<u32>(norm2[0]) & 0x7f800000u) == 0x7f800000u { return; }
    var clip = 1.0;
    if p.max_norm > 0.0 { clip = min(1.0, p.max_norm / (sqrt(norm2[0]) + 1e-6)); }
    let lr = step.lr * row.x;
    let t = f32(step.step + 1u);
    let g = clip * g0;
    let m1 = fma(vec4<f32>(p.beta1), m0, (1.0 - p.beta1) * g);
    let v1 = fma(vec4<f32>(p.beta2), v0, (1.0 - p.beta2) * g * g);
    m[i] = m1;
    v[i] = v1;
    let size = sqrt(v1 / correction(t * p.log_beta2)) + vec4<f32>(p.eps);
    w[i] = w0 * (1.0 - lr * row.y) - lr * (m1 / correction(t * p.log_beta1)) / size;
}
#endif
