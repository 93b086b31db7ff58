//! `squared_distance`: of rows to chosen rows of a table. Twin: `reference/squared_distance.rs`.

use crate::device::recording::{Recorder, row_chunks};
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, squared_distance};
use crate::{kernel, twin};

/// q [rows,d], b [n,d], column u32 [rows,k] (each below n) -> f32 [rows,k]. The table b is bound whole. For
/// evaluation: it has no gradient.
#[derive(Clone, Copy, Debug)]
pub struct SquaredDistance;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    d: u32,
    k: u32,
    total: u32,
    r: u32,
}

impl Op for SquaredDistance {
    fn name(&self) -> &'static str {
        "squared_distance"
    }
    fn class(&self) -> Class {
        Class::Search
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let ([rows, d], [_, width]) = (inputs[0].rank("q")?, inputs[1].rank("b")?);
        let [same, k] = inputs[2].rank("column")?;
        if d != width || rows != same {
            return Err("q and b have rows of one length, q and column as many rows".into());
        }
        Ok(vec![TensorType::f32([rows, k])])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (q, b, column) = (&io.inputs[0], &io.inputs[1], &io.inputs[2]);
        let y = &io.outputs[0];
        for r in row_chunks(&[q, column, y], rec.limits()) {
            let (q, column, y) = (q.rows(r.clone()), column.rows(r.clone()), y.rows(r));
            let p = Params {
                d: q.dims()[1] as u32,
                k: y.dims()[1] as u32,
                total: y.elements() as u32,
                r: 0,
            };
            let kernel = kernel!("squared_distance", "main");
            let groups = y.elements().div_ceil(64);
            rec.dispatch(&kernel, &p, &[&q, b, &column, &y], groups)?;
        }
        Ok(())
    }
    twin!();
}

impl SquaredDistance {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (d, k) = (io.input_types[0].dims()[1], io.input_types[2].dims()[1]);
        let (q, b, column) = (io.input(0), io.input(1), io.input_u32(2));
        squared_distance::squared_distance(d, k, q, b, column, io.output(0));
    }
}
