//! `constant`: a tensor of one value. Twin: `reference/constant.rs`.

use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::Shape;
use crate::graph::{Bindings, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, constant};
use crate::{kernel, twin};

/// A tensor of `shape` filled with `value`, times the step's loss scale when asked.
#[derive(Clone, Debug)]
pub struct Constant {
    /// Shape.
    pub shape: Shape,
    /// Value.
    pub value: f32,
    /// Multiply by `step.loss_scale` (the seed of the backward pass).
    pub loss_scale: bool,
}

impl Op for Constant {
    fn name(&self) -> &'static str {
        "constant"
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
            if self.loss_scale { 1.0 } else { 0.0 },
        )?)
    }
    twin!();
}

impl Constant {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let s = if self.loss_scale {
            f64::from(io.step.loss_scale)
        } else {
            1.0
        };
        constant::constant(T::of(f64::from(self.value) * s), io.output(0));
    }
}
