//! `relu_grad`: the gradient through a ReLU, masked by its output. Twin: `reference/relu_grad.rs`.

use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, relu_grad};
use crate::{kernel, twin};

/// Inputs dy and y (the ReLU's output); dx = dy where y > 0, else 0.
#[derive(Clone, Copy, Debug)]
pub struct ReluGrad;

impl Op for ReluGrad {
    fn name(&self) -> &'static str {
        "relu_grad"
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
            kernel!("relu_grad", "main"),
            &[&io.inputs[0], &io.inputs[1], &io.outputs[0]],
            0.0,
            0.0,
        )?)
    }
    twin!();
}

impl ReluGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (dy, y) = (io.input(0), io.input(1));
        relu_grad::relu_grad(dy, y, io.output(0));
    }
}
