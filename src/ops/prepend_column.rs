//! `prepend_column`: a column before a matrix. Twin: `reference/prepend_column.rs`.

use super::prepend_column_grad::PrependColumnGrad;
use super::rows;
use crate::device::recording::{Kernel, Recorder, View, row_chunks};
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, prepend_column};
use crate::{kernel, twin};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    total: u32,
    n: u32,
    r: [u32; 2],
}

/// Records a kernel with a thread an element of `wide` [..,n+1], the last or first of the views; `views` are a
/// column, a matrix [..,n] and a matrix [..,n+1] in some order.
pub(super) fn record(rec: &mut Recorder<'_>, kernel: &Kernel, views: [&View; 3]) -> Result<()> {
    let rows = views.iter().map(|v| v.elements()).min().unwrap_or(0);
    let flat = views.map(|v| v.reshape(&[rows, v.elements() / rows.max(1)]));
    let wide = flat.iter().map(|v| v.dims()[1]).max().unwrap_or(1);
    for r in row_chunks(&[&flat[0], &flat[1], &flat[2]], rec.limits()) {
        let [a, b, c] = [0, 1, 2].map(|i| flat[i].rows(r.clone()));
        let total = r.len() * wide;
        let p = Params {
            total: total as u32,
            n: wide as u32 - 1,
            r: [0; 2],
        };
        rec.dispatch(kernel, &p, &[&a, &b, &c], total.div_ceil(64))?;
    }
    Ok(())
}

/// first [..], rest [..,n] -> [..,n+1]: the positives beside the negatives.
#[derive(Clone, Copy, Debug)]
pub struct PrependColumn;

impl Op for PrependColumn {
    fn name(&self) -> &'static str {
        "prepend_column"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let rest = inputs.last().ok_or("needs two inputs")?;
        if inputs.len() != 2 || rest.shape.rank() < 2 || *inputs[0] != rows::per_row(rest) {
            return Err("needs first [..] and rest [..,n]".into());
        }
        let mut d = rest.dims().to_vec();
        if let Some(n) = d.last_mut() {
            *n += 1;
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
            return Ok(vec![None; 2]);
        };
        let _ = node;
        let d = g.push(PrependColumnGrad, &[dy])?;
        Ok(d.into_iter().map(Some).collect())
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (first, rest, y) = (&io.inputs[0], &io.inputs[1], &io.outputs[0]);
        record(rec, &kernel!("prepend_column", "main"), [first, rest, y])
    }
    twin!();
}

impl PrependColumn {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let n = rows::width(&io.input_types[1]);
        let (first, rest) = (io.input(0), io.input(1));
        prepend_column::prepend_column(n, first, rest, io.output(0));
    }
}
