//! `gelu`: the Gaussian error linear unit. Twin: `reference/gelu.rs`.

use super::cast_f32::CastF32;
use super::elementwise;
use super::gelu_grad::GeluGrad;
use crate::device::recording::Recorder;
use crate::graph::onnx::{Axes, OnnxForm, Operand};
use crate::graph::{
    Bindings, Class, DType, Graph, HostIo, Node, NodeId, Op, Result, TensorId, TensorType,
};
use crate::reference::{Scalar, gelu};
use crate::{kernel, twin};
use std::sync::Arc;

/// x f32 or f16 -> y = x/2 (1 + erf(x / sqrt 2)), the exact form (Hendrycks, Gimpel, "Gaussian Error Linear Units",
/// 2016), of the same shape; f32, or f16, as x in f16 always has it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gelu {
    /// y is f16, for a product of halves.
    pub half: bool,
    /// The backward pass makes y anew from x, instead of keeping it.
    pub recompute: bool,
}

impl Op for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }
    fn class(&self) -> Class {
        Class::Elementwise
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [x] if x.dtype == DType::F16 && !self.half => Err("of halves come halves".into()),
            [x] => Ok(vec![TensorType {
                shape: x.shape.clone(),
                dtype: if self.half { DType::F16 } else { DType::F32 },
            }]),
            _ => Err("needs one input".into()),
        }
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(mut dy) = dy[0] else {
            return Ok(vec![None]);
        };
        let x = g.node(node).inputs[0];
        if g.ty(dy).dtype == DType::F16 {
            dy = g.push1(CastF32, &[dy])?;
        }
        Ok(vec![Some(g.push1(GeluGrad, &[dy, x])?)])
    }
    fn rematerialise(&self, node: &Node) -> Option<(Arc<dyn Op>, Vec<TensorId>)> {
        let again = || (Arc::new(*self) as Arc<dyn Op>, node.inputs.clone());
        self.recompute.then(again)
    }
    /// Opset 17 has no GELU: it is made of the error function.
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        let mut form = OnnxForm::new(Axes::Kept);
        let x = || Operand::Input(0, Axes::Kept);
        let root = Operand::Scalar(std::f32::consts::FRAC_1_SQRT_2);
        let v = form.push("Mul", vec![x(), root]);
        let v = form.push("Erf", vec![v]);
        let v = form.push("Add", vec![v, Operand::Scalar(1.0)]);
        let v = form.push("Mul", vec![v, x()]);
        form.push("Mul", vec![v, Operand::Scalar(0.5)]);
        Some(form)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let views = [&io.inputs[0], &io.outputs[0]];
        let kernel = kernel!("gelu", "main")
            .flag("HALF", self.half)
            .flag("HALF_X", views[0].is_half());
        Ok(elementwise::record_by_four(rec, &kernel, &views)?)
    }
    twin!();
}

impl Gelu {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        gelu::gelu(x, io.output(0));
    }
}
