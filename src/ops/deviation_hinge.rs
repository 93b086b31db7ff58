//! `deviation_hinge`: what deviations lack to 1, from variances (VICReg). Twin: `reference/deviation_hinge.rs`.

use super::deviation_hinge_grad::DeviationHingeGrad;
use super::elementwise::elementwise;
use crate::graph::{Graph, HostIo, NodeId, Op, Result, TensorId};
use crate::reference::{Scalar, deviation_hinge};

/// y = max(0, 1 - sqrt(x + eps)).
#[derive(Clone, Copy, Debug)]
pub struct DeviationHinge {
    /// Added to the variance.
    pub eps: f32,
}

impl Op for DeviationHinge {
    elementwise!("deviation_hinge", |op| (op.eps, 0.0));
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None]);
        };
        let x = g.node(node).inputs[0];
        let op = DeviationHingeGrad { eps: self.eps };
        Ok(vec![Some(g.push1(op, &[dy, x])?)])
    }
}

impl DeviationHinge {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        deviation_hinge::deviation_hinge(T::of(f64::from(self.eps)), x, io.output(0));
    }
}
