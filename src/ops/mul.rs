//! `mul`: the elementwise product. Twin: `reference/mul.rs`.

use super::elementwise::elementwise;
use crate::graph::onnx::OnnxForm;
use crate::graph::{Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, mul};

/// y = a * b.
#[derive(Clone, Copy, Debug)]
pub struct Mul;

impl Op for Mul {
    elementwise!("mul");
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None; g.node(node).inputs.len()]);
        };
        let (a, b) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        Ok(vec![
            Some(g.push1(Self, &[dy, b])?),
            Some(g.push1(Self, &[dy, a])?),
        ])
    }
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        Some(OnnxForm::elementwise("Mul", 2))
    }
}

impl Mul {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (a, b) = (io.input(0), io.input(1));
        mul::mul(a, b, io.output(0));
    }
}
