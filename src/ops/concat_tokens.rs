//! `concat_tokens`: tokens in front of an image's tokens (the class token). Twin: `reference/concat_tokens.rs`.

use super::column_sum::ColumnSum;
use super::reshape::Reshape;
use super::slice_tokens::SliceTokens;
use crate::device::recording::{Recorder, row_chunks};
use crate::graph::onnx::{Attribute, Axes, OnnxForm, Operand};
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, concat_tokens};
use crate::{kernel, twin};

/// first [m,d] (the same for every image) or [b,m,d], rest [b,n,d] -> [b,m+n,d].
#[derive(Clone, Copy, Debug)]
pub struct ConcatTokens;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    size: u32,
    width: u32,
    m: u32,
    n: u32,
    step: u32,
    r: [u32; 3],
}

impl Op for ConcatTokens {
    fn name(&self) -> &'static str {
        "concat_tokens"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let message = "needs first [m,d] or [b,m,d], and rest [b,n,d]";
        let [first, rest] = inputs else {
            return Err(message.into());
        };
        let [b, n, d] = rest.rank("rest")?;
        match *first.dims() {
            [m, e] if e == d => Ok(vec![TensorType::f32([b, m + n, d])]),
            [c, m, e] if (c, e) == (b, d) => Ok(vec![TensorType::f32([b, m + n, d])]),
            _ => Err(message.into()),
        }
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None; 2]);
        };
        let (first, rest) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let shape = g.ty(first).shape.clone();
        let (b, n) = (g.dims(rest)[0], g.dims(rest)[1]);
        let m = g.dims(dy)[1] - n;
        let slice = |first, count| SliceTokens { first, count };
        let mut d = g.push1(slice(0, m), &[dy])?;
        if shape.rank() == 2 {
            let rows = [b, shape.elements()].into();
            d = g.push1(Reshape { shape: rows }, &[d])?;
            d = g.push1(ColumnSum, &[d])?;
            d = g.push1(Reshape { shape }, &[d])?;
        }
        Ok(vec![Some(d), Some(g.push1(slice(m, n), &[dy])?)])
    }
    /// ONNX's `Concat` repeats nothing: what all images share is added to zeros, which are made of the image's own
    /// first token.
    fn onnx(&self, inputs: &[&TensorType]) -> Option<OnnxForm> {
        let mut form = OnnxForm::new(Axes::Graph);
        let [mut first, rest] = [0, 1].map(|i| Operand::Input(i, Axes::Graph));
        if let [m, _] = *inputs[0].dims() {
            let zeroth = vec![rest.clone(), Operand::Integers(vec![0; m])];
            let x = form.push_with("Gather", zeroth, vec![("axis", Attribute::Int(1))]);
            let x = form.push("Mul", vec![x, Operand::Scalar(0.0)]);
            first = form.push("Add", vec![x, first]);
        }
        form.push_with(
            "Concat",
            vec![first, rest],
            vec![("axis", Attribute::Int(1))],
        );
        Some(form)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (first, rest, y) = (&io.inputs[0], &io.inputs[1], &io.outputs[0]);
        let (n, d) = (rest.dims()[1], rest.dims()[2]);
        let (m, shared) = (y.dims()[1] - n, first.dims().len() == 2);
        let wide = if d.is_multiple_of(4) { 4 } else { 1 };
        let kernel = kernel!("concat_tokens", "main").flag("VEC4", wide == 4);
        let mut cut = vec![rest, y];
        cut.extend((!shared).then_some(first));
        for r in row_chunks(&cut, rec.limits()) {
            let first = if shared {
                first.clone()
            } else {
                first.rows(r.clone())
            };
            let (rest, y) = (rest.rows(r.clone()), y.rows(r));
            let (width, size) = (d / wide, y.elements() / wide);
            let p = Params {
                size: size as u32,
                width: width as u32,
                m: m as u32,
                n: n as u32,
                step: if shared { 0 } else { (m * width) as u32 },
                r: [0; 3],
            };
            rec.dispatch(&kernel, &p, &[&first, &rest, &y], size.div_ceil(64))?;
        }
        Ok(())
    }
    twin!();
}

impl ConcatTokens {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let n: usize = io.input_types[1].dims()[1..].iter().product();
        let m = io.output_types[0].dims()[1..].iter().product::<usize>() - n;
        let (first, rest) = (io.input(0), io.input(1));
        concat_tokens::concat_tokens((m, n), first, rest, io.output(0));
    }
}
