//! `exp`: the exponential. Twin: `reference/exp.rs`.

use super::elementwise;
use super::mul::Mul;
use super::scale::Scale;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, exp};
use crate::{kernel, twin};

/// y = exp(factor x).
#[derive(Clone, Copy, Debug)]
pub struct Exp {
    /// The factor.
    pub factor: f64,
}

impl Op for Exp {
    fn name(&self) -> &'static str {
        "exp"
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
        let y = g.node(node).outputs[0];
        let product = g.push1(Mul, &[dy, y])?;
        let factor = self.factor;
        Ok(vec![Some(g.push1(Scale { factor }, &[product])?)])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        Ok(elementwise::record(
            rec,
            kernel!("exp", "main"),
            &[&io.inputs[0], &io.outputs[0]],
            self.factor as f32,
            0.0,
        )?)
    }
    twin!();
}

impl Exp {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        exp::exp(T::of(self.factor), x, io.output(0));
    }
}
