//! `deviation_hinge`: what deviations lack to 1, from variances (VICReg). Twin: `reference/deviation_hinge.rs`.

use super::deviation_hinge_grad::DeviationHingeGrad;
use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, deviation_hinge};
use crate::{kernel, twin};

/// y = max(0, 1 - sqrt(x + eps)).
#[derive(Clone, Copy, Debug)]
pub struct DeviationHinge {
    /// Added to the variance.
    pub eps: f32,
}

impl Op for DeviationHinge {
    fn name(&self) -> &'static str {
        "deviation_hinge"
    }
    fn class(&self) -> Class {
        Class::Elementwise
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        elementwise::same(inputs)
    }
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
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        Ok(elementwise::record(
            rec,
            kernel!("deviation_hinge", "main"),
            &[&io.inputs[0], &io.outputs[0]],
            self.eps,
            0.0,
        )?)
    }
    twin!();
}

impl DeviationHinge {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        deviation_hinge::deviation_hinge(T::of(f64::from(self.eps)), x, io.output(0));
    }
}
