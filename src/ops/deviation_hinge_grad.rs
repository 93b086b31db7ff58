//! `deviation_hinge_grad`: the gradient of `deviation_hinge`. Twin: `reference/deviation_hinge_grad.rs`.

use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, deviation_hinge_grad};
use crate::{kernel, twin};

/// Inputs dy and the variances x -> dx.
#[derive(Clone, Copy, Debug)]
pub struct DeviationHingeGrad {
    /// Added to the variance.
    pub eps: f32,
}

impl Op for DeviationHingeGrad {
    fn name(&self) -> &'static str {
        "deviation_hinge_grad"
    }
    fn class(&self) -> Class {
        Class::Elementwise
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        elementwise::same(inputs)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        Ok(elementwise::record(
            rec,
            kernel!("deviation_hinge_grad", "main"),
            &[&io.inputs[0], &io.inputs[1], &io.outputs[0]],
            self.eps,
            0.0,
        )?)
    }
    twin!();
}

impl DeviationHingeGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (dy, x) = (io.input(0), io.input(1));
        let eps = T::of(f64::from(self.eps));
        deviation_hinge_grad::deviation_hinge_grad(eps, dy, x, io.output(0));
    }
}
