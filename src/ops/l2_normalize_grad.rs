//! `l2_normalize_grad`: the gradient of rows of unit length. Twin: `reference/l2_normalize_grad.rs`.

use super::rows;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, l2_normalize_grad};
use crate::{kernel, twin};

/// dy, x [..,d] -> dx alike.
#[derive(Clone, Copy, Debug)]
pub struct L2NormalizeGrad {
    /// Least divisor (PyTorch: 1e-12).
    pub eps: f32,
}

impl Op for L2NormalizeGrad {
    fn name(&self) -> &'static str {
        "l2_normalize_grad"
    }
    fn class(&self) -> Class {
        Class::Normalisation
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        Ok(vec![rows::alike(inputs, 2)?])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let d = io.inputs[0].dims().last().copied().unwrap_or(1);
        let views = [&io.inputs[0], &io.inputs[1], &io.outputs[0]];
        Ok(rows::record(
            rec,
            &kernel!("l2_normalize_grad", "main"),
            d,
            &views,
            (self.eps, 0.0),
        )?)
    }
    twin!();
}

impl L2NormalizeGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (d, eps) = (rows::width(&io.input_types[0]), T::of(f64::from(self.eps)));
        let (dy, x) = (io.input(0), io.input(1));
        l2_normalize_grad::l2_normalize_grad(d, eps, dy, x, io.output(0));
    }
}
