//! `prepend_column_grad`: a matrix into its first column and the rest. Twin: `reference/prepend_column_grad.rs`.

use super::prepend_column::record;
use super::rows;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, prepend_column_grad};
use crate::{kernel, twin};

/// dy [..,n+1] -> dfirst [..], drest [..,n].
#[derive(Clone, Copy, Debug)]
pub struct PrependColumnGrad;

impl Op for PrependColumnGrad {
    fn name(&self) -> &'static str {
        "prepend_column_grad"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let mut d = inputs[0].dims().to_vec();
        match d.last_mut() {
            Some(n) if *n >= 2 && inputs[0].shape.rank() >= 2 => *n -= 1,
            _ => return Err("needs [..,n+1] with n at least 1".into()),
        }
        Ok(vec![
            rows::per_row(inputs[0]),
            TensorType::f32(d.as_slice()),
        ])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (dy, first, rest) = (&io.inputs[0], &io.outputs[0], &io.outputs[1]);
        record(
            rec,
            &kernel!("prepend_column_grad", "main"),
            [dy, first, rest],
        )
    }
    twin!();
}

impl PrependColumnGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let n = rows::width(&io.input_types[0]) - 1;
        let dy = io.input(0);
        let [first, rest] = io.outputs_n();
        prepend_column_grad::prepend_column_grad(n, dy, first, rest);
    }
}
