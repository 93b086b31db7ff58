// Dynamic loss scaling (Micikevicius et al., "Mixed Precision Training", ICLR 2018; torch.amp.GradScaler), behind the
// optimiser's kernel:
//   the gradient of this step is not finite though its loss is, and the optimiser has just halted for it: while scale
//   > 1, scale = scale / 2, good = 0, skipped = skipped + 1, and halt is taken back: parameters and moments are as
//   before the step, and training goes on with the next. At scale = 1 it stays halted: what overflows there overflows
//   in f32 too. So it does where the loss is not finite: no scale mends that.
//   it is finite: good = good + 1; at p.interval good steps in a row scale = min(2 scale, 2^24), good = 0.
// norm2: the squared norm of the unscaled gradient. Grid: one thread.
#import step
struct Params { interval: f32, r0: u32, r1: u32, r2: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> norm2: array<f32>;
@group(0) @binding(1) var<storage, read> loss: array<f32>;
@group(0) @binding(2) var<storage, read_write> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> good: array<f32>;
@group(0) @binding(4) var<storage, read_write> skipped: array<f32>;
@group(0) @binding(5) var<storage, read_write> halt: array<u32>;
// By bits: a compiler may assume that floats are finite.
fn finite(v: f32) -> bool { return (bitcast<u32>(v) & 0x7f800000u) != 0x7f800000u; }
@compute @workgroup_size(1)
fn main() {
    if !finite(norm2[0]) {
        if halt[0] == step.step + 1u && scale[0] > 1.0 && finite(loss[0]) {
            scale[0] = scale[0] * 0.5;
            good[0] = 0.0;
            skipped[0] = skipped[0] + 1.0;
            halt[0] = 0u;
        }
        return;
    }
    let row = good[0] + 1.0;
    if row >= p.interval {
        scale[0] = min(2.0 * scale[0], 16777216.0);
        good[0] = 0.0;
    } else {
        good[0] = row;
    }
}
