//! What changes from step to step, in one small uniform block (`shaders/lib/step.wgsl` mirrors it).

/// Per-step scalars, written before each run. 96 bytes, std140-compatible (no arrays, no vectors).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct StepScalars {
    /// Low word of the run's seed.
    pub seed_lo: u32,
    /// High word of the run's seed.
    pub seed_hi: u32,
    /// Epoch, from 0.
    pub epoch: u32,
    /// Optimiser step since the start of training, from 0.
    pub step: u32,
    /// Micro-batch within the step, from 0: `accumulate` overwrites at 0 and adds after.
    pub micro: u32,
    /// Bit 0: the loss is in its softmax warm-up. Other bits: zero.
    pub flags: u32,
    /// Learning rate after schedule.
    pub lr: f32,
    /// Factor on each micro-batch's gradient (1 / micro-batches).
    pub grad_scale: f32,
    /// EMA decay of this step (momentum encoder).
    pub ema: f32,
    /// Factor on constant temperatures (global temperature schedules).
    pub tau_scale: f32,
    /// Zero; room to grow.
    pub reserved: [u32; 14],
}

impl Default for StepScalars {
    fn default() -> Self {
        Self {
            seed_lo: 0,
            seed_hi: 0,
            epoch: 0,
            step: 0,
            micro: 0,
            flags: 0,
            lr: 0.0,
            grad_scale: 1.0,
            ema: 0.0,
            tau_scale: 1.0,
            reserved: [0; 14],
        }
    }
}

impl StepScalars {
    /// `flags` bit: AMCL's softmax warm-up is on.
    pub const WARMUP: u32 = 1;
}
