// Per-step scalars; mirrors graph::StepScalars (src/graph/step.rs) word for word.
struct Step {
    seed_lo: u32,
    seed_hi: u32,
    epoch: u32,
    step: u32,
    micro: u32,
    flags: u32,
    lr: f32,
    grad_scale: f32,
    ema: f32,
    tau_scale: f32,
    r1: u32, r2: u32, r3: u32, r4: u32, r5: u32, r6: u32,
    r7: u32, r8: u32, r9: u32, r10: u32, r11: u32, r12: u32, r13: u32, r14: u32,
}
@group(1) @binding(1) var<uniform> step: Step;
const STEP_WARMUP: u32 = 1u;
