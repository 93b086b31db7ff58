//! `reciprocal`: one over a linear function, kept away from zero. Twin: `reference/reciprocal.rs`.

use super::elementwise::elementwise;
use crate::graph::{Graph, HostIo, NodeId, Op, Result, TensorId};
use crate::reference::{Scalar, reciprocal};

/// y = 1 / max(a x + b, 1e-6): a temperature's or a weight's, a constant to what follows (it has no gradient).
#[derive(Clone, Copy, Debug)]
pub struct Reciprocal {
    /// Factor.
    pub a: f64,
    /// Summand.
    pub b: f64,
}

impl Op for Reciprocal {
    elementwise!("reciprocal", |op| (op.a as f32, op.b as f32));
    fn gradient(
        &self,
        _: &mut Graph,
        _: NodeId,
        _: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![None])
    }
}

impl Reciprocal {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        reciprocal::reciprocal(T::of(self.a), T::of(self.b), x, io.output(0));
    }
}
