//! `deviation_hinge_grad`: the gradient of `deviation_hinge`. Twin: `reference/deviation_hinge_grad.rs`.

use super::elementwise::elementwise;
use crate::graph::{HostIo, Op};
use crate::reference::{Scalar, deviation_hinge_grad};

/// Inputs dy and the variances x -> dx.
#[derive(Clone, Copy, Debug)]
pub struct DeviationHingeGrad {
    /// Added to the variance.
    pub eps: f32,
}

impl Op for DeviationHingeGrad {
    elementwise!("deviation_hinge_grad", |op| (op.eps, 0.0));
}

impl DeviationHingeGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (dy, x) = (io.input(0), io.input(1));
        let eps = T::of(f64::from(self.eps));
        deviation_hinge_grad::deviation_hinge_grad(eps, dy, x, io.output(0));
    }
}
