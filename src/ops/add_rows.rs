//! `add_rows`: the same tensor added to every row (position embeddings to every image's tokens). Twin:
//! `reference/add_rows.rs`.

use super::column_sum::ColumnSum;
use super::reshape::Reshape;
use crate::device::recording::{Recorder, row_chunks};
use crate::graph::onnx::{Axes, OnnxForm, Operand};
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, add_rows};
use crate::{kernel, twin};

/// x [b,..], v [..] -> y as x: v is added to each of the b rows. The gradient of v is the sum over the rows.
#[derive(Clone, Copy, Debug)]
pub struct AddRows;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    size: u32,
    r: [u32; 2],
}

impl Op for AddRows {
    fn name(&self) -> &'static str {
        "add_rows"
    }
    fn class(&self) -> Class {
        Class::Elementwise
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [x, v] if x.shape.rank() > 1 && x.dims()[1..] == *v.dims() && v.elements() > 0 => {
                Ok(vec![(*x).clone()])
            }
            _ => Err("needs x [b,..] and v [..]".into()),
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
        let shape = g.ty(g.node(node).inputs[1]).shape.clone();
        let rows = [g.dims(dy)[0], shape.elements()];
        let d = g.push1(Reshape { shape: rows.into() }, &[dy])?;
        let d = g.push1(ColumnSum, &[d])?;
        let d = g.push1(Reshape { shape }, &[d])?;
        Ok(vec![Some(dy), Some(d)])
    }
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        let mut form = OnnxForm::new(Axes::Graph);
        form.push("Add", [0, 1].map(|i| Operand::Input(i, Axes::Graph)).into());
        Some(form)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (x, v, y) = (&io.inputs[0], &io.inputs[1], &io.outputs[0]);
        let size = v.elements();
        let wide = if size.is_multiple_of(4) { 4 } else { 1 };
        let kernel = kernel!("add_rows", "main").flag("VEC4", wide == 4);
        for r in row_chunks(&[x, y], rec.limits()) {
            let n = r.len() * size / wide;
            let p = Params {
                n: n as u32,
                size: (size / wide) as u32,
                r: [0; 2],
            };
            let bound = [&x.rows(r.clone()), v, &y.rows(r)];
            rec.dispatch(&kernel, &p, &bound, n.div_ceil(64))?;
        }
        Ok(())
    }
    twin!();
}

impl AddRows {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (x, v) = (io.input(0), io.input(1));
        add_rows::add_rows(x, v, io.output(0));
    }
}
