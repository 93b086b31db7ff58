//! `nearest`: the largest values of each row with their columns. Twin: `reference/nearest.rs`.

use crate::device::recording::{Recorder, row_chunks};
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, nearest};
use crate::{kernel, twin};

/// s [rows,n] -> the k largest values f32 [rows,k] of each row and their columns u32 [rows,k], by ascending column.
/// For evaluation: it has no gradient.
#[derive(Clone, Copy, Debug)]
pub struct Nearest {
    /// How many, at most n.
    pub k: usize,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    rows: u32,
    k: u32,
    r: u32,
}

impl Op for Nearest {
    fn name(&self) -> &'static str {
        "nearest"
    }
    fn class(&self) -> Class {
        Class::Search
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [rows, n] = inputs[0].rank("s")?;
        if self.k == 0 || self.k > n {
            return Err(format!("k is {}, not in 1 to {n}", self.k));
        }
        let out = [rows, self.k];
        Ok(vec![TensorType::f32(out), TensorType::u32(out)])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (s, value, column) = (&io.inputs[0], &io.outputs[0], &io.outputs[1]);
        for r in row_chunks(&[s, value, column], rec.limits()) {
            let p = Params {
                n: s.dims()[1] as u32,
                rows: r.len() as u32,
                k: self.k as u32,
                r: 0,
            };
            let part = [s, value, column].map(|v| v.rows(r.clone()));
            let [s, value, column] = &part;
            let kernel = kernel!("nearest", "main");
            rec.dispatch(&kernel, &p, &[s, value, column], r.len())?;
        }
        Ok(())
    }
    twin!();
}

impl Nearest {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (s, n) = (io.input(0), io.input_types[0].dims()[1]);
        if let [value, column] = io.outputs.as_mut_slice() {
            nearest::nearest(n, self.k, s, value.float(), column.u32());
        }
    }
}
