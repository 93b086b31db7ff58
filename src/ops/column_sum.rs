//! `column_sum`: sums over the rows of matrices (bias gradients). Twin: `reference/column_sum.rs`.

use crate::device::Limits;
use crate::device::recording::{Recorder, View};
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, column_sum};
use crate::{kernel, twin};

/// x [b,m,n] -> y [b,n], or x [m,n] -> y [n].
#[derive(Clone, Copy, Debug)]
pub struct ColumnSum;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    m: u32,
    n: u32,
    rows: u32,
    chunks: u32,
    total: u32,
    r: [u32; 3],
}

fn dims(d: &[usize]) -> std::result::Result<[usize; 3], String> {
    match *d {
        [m, n] => Ok([1, m, n]),
        [b, m, n] => Ok([b, m, n]),
        _ => Err("needs a matrix or a batch of matrices".into()),
    }
}

/// Rows of a partial sum: few enough to fill a device, enough to shrink the second pass.
pub(super) const ROWS: usize = 64;

/// Records y [b,n] = the sums over the rows of x [b,m,n], in two passes: `part` [b,m / ROWS rounded up,n] takes the
/// sums of [`ROWS`] rows each.
pub(super) fn record_sum(
    rec: &mut Recorder<'_>,
    [b, m, n]: [usize; 3],
    x: &View,
    part: &View,
    y: &View,
) -> Result<()> {
    let chunks = m.div_ceil(ROWS);
    let mut pass = |x: &View, y: &View, m: usize, rows: usize, chunks: usize| {
        let total = b * chunks * n;
        let p = Params {
            m: m as u32,
            n: n as u32,
            rows: rows as u32,
            chunks: chunks as u32,
            total: total as u32,
            r: [0; 3],
        };
        rec.dispatch(
            &kernel!("column_sum", "main"),
            &p,
            &[x, y],
            total.div_ceil(64),
        )
    };
    pass(x, part, m, ROWS, chunks)?;
    Ok(pass(part, y, chunks, chunks, 1)?)
}

impl Op for ColumnSum {
    fn name(&self) -> &'static str {
        "column_sum"
    }
    fn class(&self) -> Class {
        Class::Reduction
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [b, _, n] = dims(inputs[0].dims())?;
        Ok(vec![if inputs[0].shape.rank() == 2 {
            TensorType::f32([n])
        } else {
            TensorType::f32([b, n])
        }])
    }
    fn workspace(&self, inputs: &[&TensorType], _limits: &Limits) -> Vec<TensorType> {
        let [b, m, n] = dims(inputs[0].dims()).unwrap_or([1, 1, 1]);
        vec![TensorType::f32([b, m.div_ceil(ROWS), n])]
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let [b, m, n] = dims(io.inputs[0].dims()).unwrap_or([1, 1, 1]);
        let (x, y) = (&io.inputs[0], &io.outputs[0]);
        record_sum(rec, [b, m, n], x, &io.workspace[0], y)
    }
    twin!();
}

impl ColumnSum {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        if let Ok([_, m, n]) = dims(io.input_types[0].dims()) {
            column_sum::column_sum(m, n, x, io.output(0));
        }
    }
}
