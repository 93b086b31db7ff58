//! `gelu_grad`: the gradient of GELU from its input. Twin: `reference/gelu_grad.rs`.

use super::elementwise::elementwise;
use crate::graph::{HostIo, Op};
use crate::reference::{Scalar, gelu_grad};

/// Inputs dy and x; dx = dy (Phi(x) + x phi(x)), with the standard normal's distribution function and density.
#[derive(Clone, Copy, Debug)]
pub struct GeluGrad;

impl Op for GeluGrad {
    elementwise!("gelu_grad");
}

impl GeluGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (dy, x) = (io.input(0), io.input(1));
        gelu_grad::gelu_grad(dy, x, io.output(0));
    }
}
