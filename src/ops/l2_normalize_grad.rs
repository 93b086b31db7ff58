//! `l2_normalize_grad`: the gradient of rows of unit length. Twin: `reference/l2_normalize_grad.rs`.

use crate::device::recording::Recorder;
use crate::graph::{Bindings, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, l2_normalize_grad};
use crate::{kernel, twin};

/// dy, x [..,d] -> dx alike.
#[derive(Clone, Copy, Debug)]
pub struct L2NormalizeGrad {
    /// Least divisor (PyTorch: 1e-12).
    pub eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    d: u32,
    eps: f32,
    r: u32,
}

impl Op for L2NormalizeGrad {
    fn name(&self) -> &'static str {
        "l2_normalize_grad"
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        if inputs.len() != 2
            || inputs.iter().any(|t| *t != inputs[0])
            || inputs[0].shape.rank() == 0
        {
            return Err("needs 2 input(s) of one shape [..,d]".into());
        }
        Ok(vec![inputs[0].clone()])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let x = &io.inputs[0];
        let d = x.dims()[x.dims().len() - 1];
        let rows = x.elements() / d;
        let p = Params {
            rows: rows as u32,
            d: d as u32,
            eps: self.eps,
            r: 0,
        };
        let mut bound: Vec<_> = io.inputs.iter().collect();
        bound.push(&io.outputs[0]);
        Ok(rec.dispatch(&kernel!("l2_normalize_grad", "main"), &p, &bound, rows)?)
    }
    twin!();
}

impl L2NormalizeGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let d = io.input_types[0].dims().last().copied().unwrap_or(1);
        let eps = T::of(f64::from(self.eps));
        let (dy, x) = (io.input(0), io.input(1));
        l2_normalize_grad::l2_normalize_grad(d, eps, dy, x, io.output(0));
    }
}
