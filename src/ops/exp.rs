//! `exp`: the exponential. Twin: `reference/exp.rs`.

use super::elementwise::elementwise;
use super::mul::Mul;
use super::scale::Scale;
use crate::graph::{Graph, HostIo, NodeId, Op, Result, TensorId};
use crate::reference::{Scalar, exp};

/// y = exp(factor x).
#[derive(Clone, Copy, Debug)]
pub struct Exp {
    /// The factor.
    pub factor: f64,
}

impl Op for Exp {
    elementwise!("exp", |op| (op.factor as f32, 0.0));
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
}

impl Exp {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        exp::exp(T::of(self.factor), x, io.output(0));
    }
}
