//! `batch_norm_running`: the running statistics of batch normalisation. Twin: `reference/batch_norm_running.rs`.

use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, batch_norm_running};
use crate::{kernel, twin};

/// Inputs: batch mean, biased batch variance [c]; updates: running mean, running variance [c].
#[derive(Clone, Copy, Debug)]
pub struct BatchNormRunning {
    /// Weight of the batch (PyTorch's momentum, 0.1).
    pub momentum: f32,
    /// Values per channel in the batch: the running variance is the unbiased one.
    pub count: usize,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    c: u32,
    momentum: f32,
    unbias: f32,
    r: u32,
}

impl BatchNormRunning {
    fn unbias(&self) -> f64 {
        self.count as f64 / (self.count.max(2) - 1) as f64
    }
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (mean, var, momentum) = (io.input(0), io.input(1), T::of(f64::from(self.momentum)));
        let [running_mean, running_var] = io.updates_n();
        batch_norm_running::batch_norm_running(momentum, T::one(), mean, running_mean);
        batch_norm_running::batch_norm_running(momentum, T::of(self.unbias()), var, running_var);
    }
}

impl Op for BatchNormRunning {
    fn name(&self) -> &'static str {
        "batch_norm_running"
    }
    fn class(&self) -> Class {
        Class::Normalisation
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        if inputs.len() != 4 || inputs.iter().any(|t| *t != inputs[0]) {
            return Err(
                "needs mean, variance, running mean and running variance of one shape".into(),
            );
        }
        Ok(Vec::new())
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let c = io.inputs[0].elements();
        let p = Params {
            c: c as u32,
            momentum: self.momentum,
            unbias: self.unbias() as f32,
            r: 0,
        };
        let kernel = kernel!("batch_norm_running", "main");
        let views = [&io.inputs[0], &io.inputs[1], &io.updates[0], &io.updates[1]];
        Ok(rec.dispatch(&kernel, &p, &views, c.div_ceil(64))?)
    }
    twin!();
}
