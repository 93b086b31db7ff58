//! `softmax_grad`: the gradient of softmax from its result. Twin: `reference/softmax_grad.rs`.

use super::rows;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, softmax_grad};
use crate::{kernel, twin};

/// dy, y [..,d] -> dx alike.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxGrad;

impl Op for SoftmaxGrad {
    fn name(&self) -> &'static str {
        "softmax_grad"
    }
    fn class(&self) -> Class {
        Class::Reduction
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        Ok(vec![rows::alike(inputs, 2)?])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let d = io.inputs[0].dims().last().copied().unwrap_or(1);
        let views = [&io.inputs[0], &io.inputs[1], &io.outputs[0]];
        Ok(rows::record(
            rec,
            &kernel!("softmax_grad", "main"),
            d,
            &views,
            (0.0, 0.0),
        )?)
    }
    twin!();
}

impl SoftmaxGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let d = rows::width(&io.input_types[0]);
        let (dy, y) = (io.input(0), io.input(1));
        softmax_grad::softmax_grad(d, dy, y, io.output(0));
    }
}
