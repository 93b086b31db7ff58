//! `gather_rows`: the samples of a batch from a data set on the device. Twin: `reference/gather_rows.rs`.

use crate::device::recording::{Recorder, row_chunks};
use crate::graph::op::HostMut;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, gather_rows};
use crate::{kernel, twin};

/// table u32 [n,w], index u32 [b] (each below n) -> u32 [b,w]. No gradient: integers.
#[derive(Clone, Copy, Debug)]
pub struct GatherRows;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    width: u32,
    total: u32,
    first: u32,
    rows: u32,
}

impl GatherRows {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let width = io.input_types[0].dims()[1];
        let (table, index) = (io.input_u32(0), io.input_u32(1));
        if let Some(y) = io.outputs.first_mut().map(HostMut::u32) {
            gather_rows::gather_rows(width, table, index, y);
        }
    }
}

impl Op for GatherRows {
    fn name(&self) -> &'static str {
        "gather_rows"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [_, w] = inputs[0].rank("table")?;
        let [b] = inputs[1].rank("index")?;
        Ok(vec![TensorType::u32([b, w])])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (table, index, y) = (&io.inputs[0], &io.inputs[1], &io.outputs[0]);
        for batch in row_chunks(&[index, y], rec.limits()) {
            let (index, y) = (index.rows(batch.clone()), y.rows(batch));
            for r in row_chunks(&[table], rec.limits()) {
                let p = Params {
                    width: table.dims()[1] as u32,
                    total: y.elements() as u32,
                    first: r.start as u32,
                    rows: r.len() as u32,
                };
                rec.dispatch(
                    &kernel!("gather_rows", "main"),
                    &p,
                    &[&table.rows(r), &index, &y],
                    y.elements().div_ceil(64),
                )?;
            }
        }
        Ok(())
    }
    twin!();
}
