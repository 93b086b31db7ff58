//! `relu`: max(x, 0). Twin: `reference/relu.rs`.

use super::elementwise::elementwise;
use crate::graph::onnx::OnnxForm;
use crate::graph::{Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, relu};

/// y = max(x, 0).
#[derive(Clone, Copy, Debug)]
pub struct Relu;

impl Op for Relu {
    elementwise!("relu");
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None; g.node(node).inputs.len()]);
        };
        let y = g.node(node).outputs[0];
        Ok(vec![Some(g.push1(super::relu_grad::ReluGrad, &[dy, y])?)])
    }
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        Some(OnnxForm::elementwise("Relu", 1))
    }
}

impl Relu {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        relu::relu(x, io.output(0));
    }
}
