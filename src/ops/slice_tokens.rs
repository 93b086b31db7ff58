//! `slice_tokens`: some neighbouring tokens of every image. Twin: `reference/slice_tokens.rs`.

use super::slice_tokens_grad::SliceTokensGrad;
use crate::device::recording::{Kernel, Recorder, View, row_chunks};
use crate::graph::onnx::{Axes, OnnxForm, Operand};
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, slice_tokens};
use crate::{kernel, twin};

/// x [b,n,..] -> [b,count,..]: of every image the tokens `first` to `first + count - 1`.
#[derive(Clone, Copy, Debug)]
pub struct SliceTokens {
    /// Number of the first.
    pub first: usize,
    /// How many.
    pub count: usize,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    size: u32,
    row: u32,
    first: u32,
    count: u32,
}

impl SliceTokens {
    /// Numbers of a token, from the shape of x.
    pub(super) fn width(x: &[usize]) -> usize {
        x[2..].iter().product()
    }

    /// What a dispatch binds: `from` and `to`, one of which has `row` numbers an image, the other those of the slice.
    pub(super) fn dispatch(
        self,
        rec: &mut Recorder<'_>,
        kernel: Kernel,
        (row, width): (usize, usize),
        from: &View,
        to: &View,
    ) -> Result<()> {
        let wide = if width.is_multiple_of(4) { 4 } else { 1 };
        let kernel = kernel.flag("VEC4", wide == 4);
        for r in row_chunks(&[from, to], rec.limits()) {
            let (from, to) = (from.rows(r.clone()), to.rows(r));
            let size = to.elements() / wide;
            let p = Params {
                size: size as u32,
                row: (row / wide) as u32,
                first: (self.first * width / wide) as u32,
                count: (self.count * width / wide) as u32,
            };
            rec.dispatch(&kernel, &p, &[&from, &to], size.div_ceil(64))?;
        }
        Ok(())
    }
}

impl Op for SliceTokens {
    fn name(&self) -> &'static str {
        "slice_tokens"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [x] = inputs else {
            return Err("needs one input".into());
        };
        let mut d = x.dims().to_vec();
        let (first, count) = (self.first, self.count);
        match d.get_mut(1) {
            Some(n) if count > 0 && first + count <= *n => *n = count,
            _ => {
                return Err(format!(
                    "{count} tokens from number {first} on are not in {}",
                    x.shape
                ));
            }
        }
        Ok(vec![TensorType::f32(d.as_slice())])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None]);
        };
        let tokens = g.dims(g.node(node).inputs[0])[1];
        let op = SliceTokensGrad {
            slice: *self,
            tokens,
        };
        Ok(vec![Some(g.push1(op, &[dy])?)])
    }
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        let mut form = OnnxForm::new(Axes::Graph);
        let [first, end] = [self.first, self.first + self.count].map(|v| v as i64);
        let bounds = [first, end, 1].map(|v| Operand::Integers(vec![v]));
        let mut operands = vec![Operand::Input(0, Axes::Graph)];
        operands.extend(bounds);
        form.push("Slice", operands);
        Some(form)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (x, y) = (&io.inputs[0], &io.outputs[0]);
        let width = Self::width(x.dims());
        let row = x.dims()[1] * width;
        self.dispatch(rec, kernel!("slice_tokens", "main"), (row, width), x, y)
    }
    twin!();
}

impl SliceTokens {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let dims = io.input_types[0].dims();
        let width = Self::width(dims);
        let x = io.input(0);
        let slice = (self.first * width, self.count * width);
        slice_tokens::slice_tokens(dims[1] * width, slice, x, io.output(0));
    }
}
