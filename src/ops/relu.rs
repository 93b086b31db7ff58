//! `relu`: max(x, 0). Twin: `reference/relu.rs`.

use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::onnx::OnnxForm;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, relu};
use crate::{kernel, twin};

/// y = max(x, 0).
#[derive(Clone, Copy, Debug)]
pub struct Relu;

impl Op for Relu {
    fn name(&self) -> &'static str {
        "relu"
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
            return Ok(vec![None; g.node(node).inputs.len()]);
        };
        let y = g.node(node).outputs[0];
        Ok(vec![Some(g.push1(super::relu_grad::ReluGrad, &[dy, y])?)])
    }
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        Some(OnnxForm::elementwise("Relu", 1))
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        Ok(elementwise::record(
            rec,
            kernel!("relu", "main"),
            &[&io.inputs[0], &io.outputs[0]],
            0.0,
            0.0,
        )?)
    }
    twin!();
}

impl Relu {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        relu::relu(x, io.output(0));
    }
}
