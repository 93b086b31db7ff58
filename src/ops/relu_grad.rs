//! `relu_grad`: the gradient through a ReLU, masked by its output. Twin: `reference/relu_grad.rs`.

use super::elementwise::elementwise;
use crate::graph::{HostIo, Op};
use crate::reference::{Scalar, relu_grad};

/// Inputs dy and y (the ReLU's output); dx = dy where y > 0, else 0.
#[derive(Clone, Copy, Debug)]
pub struct ReluGrad;

impl Op for ReluGrad {
    elementwise!("relu_grad");
}

impl ReluGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (dy, y) = (io.input(0), io.input(1));
        relu_grad::relu_grad(dy, y, io.output(0));
    }
}
