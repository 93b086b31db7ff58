//! `constant`: a tensor of one value. Twin: `reference/constant.rs`.

use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::Shape;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, constant};
use crate::{kernel, twin};

/// A tensor of `shape` filled with `value`.
#[derive(Clone, Debug)]
pub struct Constant {
    /// Shape.
    pub shape: Shape,
    /// Value.
    pub value: f32,
}

impl Op for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let _ = inputs;
        Ok(vec![TensorType::f32(self.shape.clone())])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None; g.node(node).inputs.len()]);
        };
        let _ = (g, node, dy);
        Ok(Vec::new())
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        Ok(elementwise::record(
            rec,
            kernel!("constant", "main"),
            &[&io.outputs[0]],
            self.value,
            0.0,
        )?)
    }
    twin!();
}

impl Constant {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        constant::constant(T::of(f64::from(self.value)), io.output(0));
    }
}
