//! `scale`: a constant factor. Twin: `reference/scale.rs`.

use super::elementwise::elementwise;
use crate::graph::onnx::{Axes, OnnxForm, Operand};
use crate::graph::{Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, scale};

/// y = factor * x.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// The factor.
    pub factor: f64,
}

impl Op for Scale {
    elementwise!("scale", |op| (op.factor as f32, 0.0));
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None; g.node(node).inputs.len()]);
        };
        let _ = node;
        Ok(vec![Some(g.push1(*self, &[dy])?)])
    }
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        let mut form = OnnxForm::new(Axes::Kept);
        let factor = Operand::Scalar(self.factor as f32);
        form.push("Mul", vec![Operand::Input(0, Axes::Kept), factor]);
        Some(form)
    }
}

impl Scale {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        scale::scale(T::of(self.factor), x, io.output(0));
    }
}
