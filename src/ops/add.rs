//! `add`: the sum of two tensors of one shape. Twin: `reference/add.rs`.

use super::elementwise::elementwise;
use crate::graph::onnx::OnnxForm;
use crate::graph::{Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, add};

/// y = a + b.
#[derive(Clone, Copy, Debug)]
pub struct Add;

impl Op for Add {
    elementwise!("add");
    fn takes_f16(&self) -> bool {
        true
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
        let _ = (node, &g);
        Ok(vec![Some(dy), Some(dy)])
    }
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        Some(OnnxForm::elementwise("Add", 2))
    }
}

impl Add {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (a, b) = (io.input(0), io.input(1));
        add::add(a, b, io.output(0));
    }
}
