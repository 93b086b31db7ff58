//! `reciprocal`: one over a linear function, kept away from zero. Twin: `reference/reciprocal.rs`.

use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, reciprocal};
use crate::{kernel, twin};

/// y = 1 / max(a x + b, 1e-6): a temperature's or a weight's, a constant to what follows (it has no gradient).
#[derive(Clone, Copy, Debug)]
pub struct Reciprocal {
    /// Factor.
    pub a: f64,
    /// Summand.
    pub b: f64,
}

impl Op for Reciprocal {
    fn name(&self) -> &'static str {
        "reciprocal"
    }
    fn class(&self) -> Class {
        Class::Elementwise
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        elementwise::same(inputs)
    }
    fn gradient(
        &self,
        _: &mut Graph,
        _: NodeId,
        _: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![None])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        Ok(elementwise::record(
            rec,
            kernel!("reciprocal", "main"),
            &[&io.inputs[0], &io.outputs[0]],
            self.a as f32,
            self.b as f32,
        )?)
    }
    twin!();
}

impl Reciprocal {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        reciprocal::reciprocal(T::of(self.a), T::of(self.b), x, io.output(0));
    }
}
