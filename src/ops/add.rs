//! `add`: the sum of two tensors of one shape. Twin: `reference/add.rs`.

use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::onnx::OnnxForm;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, add};
use crate::{kernel, twin};

/// y = a + b.
#[derive(Clone, Copy, Debug)]
pub struct Add;

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }
    fn class(&self) -> Class {
        Class::Elementwise
    }
    fn takes_f16(&self) -> bool {
        true
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
        let _ = (node, &g);
        Ok(vec![Some(dy), Some(dy)])
    }
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        Some(OnnxForm::elementwise("Add", 2))
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        Ok(elementwise::record(
            rec,
            kernel!("add", "main"),
            &[&io.inputs[0], &io.inputs[1], &io.outputs[0]],
            0.0,
            0.0,
        )?)
    }
    twin!();
}

impl Add {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (a, b) = (io.input(0), io.input(1));
        add::add(a, b, io.output(0));
    }
}
