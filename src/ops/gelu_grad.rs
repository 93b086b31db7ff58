//! `gelu_grad`: the gradient of GELU from its input. Twin: `reference/gelu_grad.rs`.

use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, DType, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, gelu_grad};
use crate::{kernel, twin};

/// Inputs dy f32 and x, f32 or f16; dx = dy (Phi(x) + x phi(x)), f32, with the standard normal's distribution function
/// and density.
#[derive(Clone, Copy, Debug)]
pub struct GeluGrad;

impl Op for GeluGrad {
    fn name(&self) -> &'static str {
        "gelu_grad"
    }
    fn class(&self) -> Class {
        Class::Elementwise
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [dy, x] if dy.shape == x.shape && dy.dtype == DType::F32 => Ok(vec![(*dy).clone()]),
            _ => Err("needs dy f32 and x, of one shape".into()),
        }
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let views = [&io.inputs[0], &io.inputs[1], &io.outputs[0]];
        let kernel = kernel!("gelu_grad", "main").flag("HALF", views[1].is_half());
        Ok(elementwise::record_by_four(rec, &kernel, &views)?)
    }
    twin!();
}

impl GeluGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (dy, x) = (io.input(0), io.input(1));
        gelu_grad::gelu_grad(dy, x, io.output(0));
    }
}
