//! `l2_normalize_grad`: the gradient of rows of unit length. Twin: `reference/l2_normalize_grad.rs`.

use super::rows::{self, by_rows};
use crate::graph::{HostIo, Op, TensorType};
use crate::reference::{Scalar, l2_normalize_grad};

/// dy, x [..,d] -> dx alike.
#[derive(Clone, Copy, Debug)]
pub struct L2NormalizeGrad {
    /// Least divisor (PyTorch: 1e-12).
    pub eps: f32,
}

impl Op for L2NormalizeGrad {
    by_rows!("l2_normalize_grad", Normalisation, |op| (op.eps, 0.0));
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        Ok(vec![rows::alike(inputs, 2)?])
    }
}

impl L2NormalizeGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (d, eps) = (rows::width(&io.input_types[0]), T::of(f64::from(self.eps)));
        let (dy, x) = (io.input(0), io.input(1));
        l2_normalize_grad::l2_normalize_grad(d, eps, dy, x, io.output(0));
    }
}
