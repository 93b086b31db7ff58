//! `reshape`: the same elements under another shape (a copy). Twin: `reference/reshape.rs`.

use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::Shape;
use crate::graph::onnx::{Axes, OnnxForm, Operand};
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, reshape};
use crate::{kernel, twin};

/// y holds the elements of x in the same order, as `shape`.
#[derive(Clone, Debug)]
pub struct Reshape {
    /// The new shape; as many elements.
    pub shape: Shape,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [x] = inputs else {
            return Err("needs one input".into());
        };
        if x.elements() != self.shape.elements() {
            return Err(format!(
                "{} elements cannot become shape {}",
                x.elements(),
                self.shape
            ));
        }
        Ok(vec![TensorType {
            shape: self.shape.clone(),
            dtype: x.dtype,
        }])
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
        let shape = g.ty(g.node(node).inputs[0]).shape.clone();
        Ok(vec![Some(g.push1(Self { shape }, &[dy])?)])
    }
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        let mut form = OnnxForm::new(Axes::Graph);
        let shape = Operand::Shape(self.shape.dims().to_vec());
        form.push("Reshape", vec![Operand::Input(0, Axes::Graph), shape]);
        Some(form)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        Ok(elementwise::record(
            rec,
            kernel!("reshape", "main"),
            &[&io.inputs[0], &io.outputs[0]],
            0.0,
            0.0,
        )?)
    }
    twin!();
}

impl Reshape {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        reshape::reshape(x, io.output(0));
    }
}
