//! `first_rows_grad`: the gradient of taking the first rows. Twin: `reference/first_rows_grad.rs`.

use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, Shape, TensorType};
use crate::reference::{Scalar, first_rows_grad};
use crate::{kernel, twin};

/// dy [rows,..] -> dx of shape `input`: dy, then zeros.
#[derive(Clone, Debug)]
pub struct FirstRowsGrad {
    /// Shape of the tensor that the rows were taken from.
    pub input: Shape,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    kept: u32,
    r: [u32; 2],
}

impl Op for FirstRowsGrad {
    fn name(&self) -> &'static str {
        "first_rows_grad"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, _inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        Ok(vec![TensorType::f32(self.input.clone())])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (dy, dx) = (&io.inputs[0], &io.outputs[0]);
        let p = Params {
            n: dx.elements() as u32,
            kept: dy.elements() as u32,
            r: [0; 2],
        };
        Ok(rec.dispatch(
            &kernel!("first_rows_grad", "main"),
            &p,
            &[dy, dx],
            dx.elements().div_ceil(64),
        )?)
    }
    twin!();
}

impl FirstRowsGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let dy = io.input(0);
        first_rows_grad::first_rows_grad(dy, io.output(0));
    }
}
