//! `layer_norm`: layer normalisation. Twin: `reference/layer_norm.rs`.

use super::layer_norm_grad::LayerNormGrad;
use super::rows;
use crate::device::recording::{Kernel, Recorder, View, row_chunks};
use crate::graph::onnx::{Attribute, Axes, OnnxForm, Operand};
use crate::graph::{
    Bindings, Class, DType, Graph, HostIo, Node, NodeId, Op, Result, TensorId, TensorType,
};
use crate::reference::{Scalar, layer_norm};
use crate::{kernel, twin};
use std::sync::Arc;

/// x [..,d], w, b [d] -> y as x, mean and rstd [..] of the rows: y = (x - mean) rstd w + b, with rstd = 1 /
/// sqrt(variance + eps) and the biased variance (Ba, Kiros, Hinton, "Layer Normalization", 2016). All are f32, but y
/// where it is to be f16.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// Added to the variance: 1e-6 in Vision Transformers.
    pub eps: f64,
    /// y is f16, for a product of halves.
    pub half: bool,
    /// The backward pass makes y anew from x, instead of keeping it.
    pub recompute: bool,
}

impl LayerNorm {
    /// The form that is kept, in f32.
    pub fn new(eps: f64) -> Self {
        Self {
            eps,
            half: false,
            recompute: false,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    d: u32,
    eps: f32,
    r: f32,
}

/// The variant of a kernel for rows of `d` (`shaders/lib/wide_row.wgsl`).
pub(super) fn for_width(kernel: Kernel, d: usize) -> Kernel {
    let wide = if d.is_multiple_of(4) { 4 } else { 1 };
    let keep = (d / wide).div_ceil(64);
    kernel
        .flag("VEC4", wide == 4)
        .define("KEEP", format!("{keep}u"))
}

/// The views as matrices [rows,d], and [rows,1] where a tensor has a value a row.
pub(super) fn matrices(views: &[&View], d: usize) -> Vec<View> {
    let rows = views[0].elements() / d;
    let flat = views.iter();
    flat.map(|v| v.reshape(&[rows, v.elements() / rows]))
        .collect()
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }
    fn class(&self) -> Class {
        Class::Normalisation
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [x, w, b] = inputs else {
            return Err("needs x [..,d], w [d] and b [d]".into());
        };
        let d = rows::width(x);
        if x.shape.rank() == 0 || d == 0 || [w, b].iter().any(|v| v.dims() != [d]) {
            return Err("needs x [..,d], w [d] and b [d]".into());
        }
        let y = TensorType {
            shape: x.shape.clone(),
            dtype: if self.half { DType::F16 } else { DType::F32 },
        };
        Ok(vec![y, rows::per_row(x), rows::per_row(x)])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let n = g.node(node);
        let (x, w, mean, rstd) = (n.inputs[0], n.inputs[1], n.outputs[1], n.outputs[2]);
        // Mean and rstd are for this gradient alone: none comes back through them.
        let Some(dy) = dy[0] else {
            return Ok(vec![None; 3]);
        };
        let d = g.push(LayerNormGrad, &[dy, x, w, mean, rstd])?;
        Ok(d.into_iter().map(Some).collect())
    }
    fn rematerialise(&self, node: &Node) -> Option<(Arc<dyn Op>, Vec<TensorId>)> {
        let again = || (Arc::new(*self) as Arc<dyn Op>, node.inputs.clone());
        self.recompute.then(again)
    }
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        let mut form = OnnxForm::new(Axes::Graph);
        let operands = (0..3).map(|i| Operand::Input(i, Axes::Graph)).collect();
        let attributes = vec![
            ("axis", Attribute::Int(-1)),
            ("epsilon", Attribute::Float(self.eps as f32)),
        ];
        form.push_with("LayerNormalization", operands, attributes);
        Some(form)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (w, b) = (&io.inputs[1], &io.inputs[2]);
        let d = w.elements();
        let serial = rec.limits().is_cpu;
        let kernel = match serial {
            true => kernel!("layer_norm", "serial").flag("SERIAL", true),
            false => kernel!("layer_norm", "main"),
        };
        let kernel = for_width(kernel, d).flag("HALF", self.half);
        let all = matrices(
            &[
                &io.inputs[0],
                &io.outputs[0],
                &io.outputs[1],
                &io.outputs[2],
            ],
            d,
        );
        for r in row_chunks(&all.iter().collect::<Vec<_>>(), rec.limits()) {
            let [x, y, mean, rstd] = [0, 1, 2, 3].map(|i| all[i].rows(r.clone()));
            let p = Params {
                rows: r.len() as u32,
                d: d as u32,
                eps: self.eps as f32,
                r: 0.0,
            };
            let groups = if serial {
                r.len().div_ceil(64)
            } else {
                r.len()
            };
            rec.dispatch(&kernel, &p, &[&x, w, b, &y, &mean, &rstd], groups)?;
        }
        Ok(())
    }
    twin!();
}

impl LayerNorm {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (x, w, b) = (io.input(0), io.input(1), io.input(2));
        let [y, mean, rstd] = io.outputs_n();
        layer_norm::layer_norm(T::of(self.eps), x, w, b, y, (mean, rstd));
    }
}
