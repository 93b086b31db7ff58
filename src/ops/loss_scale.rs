//! `loss_scale`: dynamic loss scaling for gradients in 16 bits. Twin: `reference/loss_scale.rs`.

use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, loss_scale};
use crate::{kernel, twin};

/// Inputs squared norm of the unscaled gradient [1], loss [1]; updates scale [1], good steps in a row [1], skipped
/// steps [1], halt u32 [1]. Stands behind the optimiser's op.
#[derive(Clone, Copy, Debug)]
pub struct LossScale {
    /// The scale doubles after so many finite gradients in a row.
    pub interval: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    interval: f32,
    r: [u32; 3],
}

impl Op for LossScale {
    fn name(&self) -> &'static str {
        "loss_scale"
    }
    fn class(&self) -> Class {
        Class::Optimiser
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        if inputs.len() != 6 || inputs.iter().any(|t| t.elements() != 1) {
            return Err(
                "needs a squared norm and a loss; scale, good steps, skipped steps, halt: each [1]"
                    .into(),
            );
        }
        Ok(Vec::new())
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let p = Params {
            interval: self.interval as f32,
            r: [0; 3],
        };
        let bound: Vec<_> = io.inputs.iter().chain(&io.updates).collect();
        Ok(rec.dispatch(&kernel!("loss_scale", "main"), &p, &bound, 1)?)
    }
    twin!();
}

impl LossScale {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let interval = T::of(f64::from(self.interval));
        let (step, values) = (io.step.step, [io.input(0)[0], io.input(1)[0]]);
        if let [scale, good, skipped, halt] = io.updates.as_mut_slice() {
            let state = loss_scale::State {
                scale: &mut scale.float()[0],
                good: &mut good.float()[0],
                skipped: &mut skipped.float()[0],
                halt: &mut halt.u32()[0],
            };
            loss_scale::loss_scale(interval, step, values, state);
        }
    }
}
