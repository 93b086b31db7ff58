//! `softmax_grad`: the gradient of softmax from its result. Twin: `reference/softmax_grad.rs`.

use super::rows::{self, by_rows};
use crate::graph::{HostIo, Op, TensorType};
use crate::reference::{Scalar, softmax_grad};

/// dy, y [..,d] -> dx alike.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxGrad;

impl Op for SoftmaxGrad {
    by_rows!("softmax_grad", Reduction);
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        Ok(vec![rows::alike(inputs, 2)?])
    }
}

impl SoftmaxGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let d = rows::width(&io.input_types[0]);
        let (dy, y) = (io.input(0), io.input(1));
        softmax_grad::softmax_grad(d, dy, y, io.output(0));
    }
}
