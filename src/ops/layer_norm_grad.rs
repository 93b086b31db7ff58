//! `layer_norm_grad`: the gradient of layer normalisation. Twin: `reference/layer_norm_grad.rs`.

use super::column_sum::{self, record_sum};
use super::layer_norm::{for_width, matrices};
use super::rows;
use crate::device::Limits;
use crate::device::recording::{Recorder, row_chunks, row_chunks_of};
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, layer_norm_grad};
use crate::{kernel, twin};

/// dy, x [..,d], w [d], mean, rstd [..] -> dx as x, dw, db [d].
#[derive(Clone, Copy, Debug)]
pub struct LayerNormGrad;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    d: u32,
    run: u32,
    groups: u32,
    first: u32,
    r: [u32; 3],
}

/// Runs that the rows are cut into, each a group's: several for each processor of a large GPU.
const RUNS: usize = 1024;
/// Rows of a run: so many that its partial sums are little beside what is read, so few that these keep their digits.
const LEAST: usize = 4;
const MOST: usize = 256;

/// Rows of a run of `rows` rows.
fn run_of(rows: usize) -> usize {
    rows.div_ceil(RUNS).clamp(LEAST, MOST)
}

/// Runs of x [..,d] over all pieces that fit a binding.
fn runs(x: &TensorType, limits: &Limits) -> usize {
    let d = rows::width(x);
    let rows = x.elements() / d.max(1);
    let pieces = row_chunks_of(&[(&[rows, d], 4), (&[rows, 1], 4)], limits);
    let run = run_of(rows);
    pieces.iter().map(|r| r.len().div_ceil(run)).sum()
}

impl Op for LayerNormGrad {
    fn name(&self) -> &'static str {
        "layer_norm_grad"
    }
    fn class(&self) -> Class {
        Class::Normalisation
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let message = "needs dy, x [..,d], w [d], mean and rstd [..]";
        let [dy, x, w, mean, rstd] = inputs else {
            return Err(message.into());
        };
        let d = rows::width(x);
        let per_row = rows::per_row(x);
        if dy != x || d == 0 || w.dims() != [d] || **mean != per_row || **rstd != per_row {
            return Err(message.into());
        }
        let vector = TensorType::f32([d]);
        Ok(vec![(*x).clone(), vector.clone(), vector])
    }
    fn workspace(&self, inputs: &[&TensorType], limits: &Limits) -> Vec<TensorType> {
        let (runs, d) = (runs(inputs[1], limits), rows::width(inputs[1]));
        let part = TensorType::f32([runs, d]);
        let sums = TensorType::f32([runs.div_ceil(column_sum::ROWS), d]);
        vec![part.clone(), part, sums]
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let w = &io.inputs[2];
        let d = w.elements();
        let [part_w, part_b, sums] = [0, 1, 2].map(|i| &io.workspace[i]);
        let [dy, x, mean, rstd] = [0, 1, 3, 4].map(|i| &io.inputs[i]);
        let all = matrices(&[dy, x, mean, rstd, &io.outputs[0]], d);
        let run = run_of(all[0].dims()[0]);
        let kernel = |entry| for_width(entry, d);
        let mut first = 0;
        for r in row_chunks(&all.iter().collect::<Vec<_>>(), rec.limits()) {
            let [dy, x, mean, rstd, dx] = [0, 1, 2, 3, 4].map(|i| all[i].rows(r.clone()));
            let groups = r.len().div_ceil(run);
            let p = Params {
                rows: r.len() as u32,
                d: d as u32,
                run: run as u32,
                groups: groups as u32,
                first: first as u32,
                r: [0; 3],
            };
            if rec.limits().is_cpu {
                let serial = kernel(kernel!("layer_norm_grad", "serial")).flag("SERIAL", true);
                let bound = [&dy, &x, &mean, &rstd, w, &dx];
                rec.dispatch(&serial, &p, &bound, r.len().div_ceil(64))?;
                let columns = kernel(kernel!("layer_norm_grad", "columns")).flag("COLUMNS", true);
                let bound = [&dy, &x, &mean, &rstd, part_w, part_b];
                let wide = if d.is_multiple_of(4) { 4 } else { 1 };
                rec.dispatch(&columns, &p, &bound, (groups * d / wide).div_ceil(64))?;
            } else {
                let main = kernel(kernel!("layer_norm_grad", "main"));
                let bound = [&dy, &x, &mean, &rstd, w, &dx, part_w, part_b];
                rec.dispatch(&main, &p, &bound, groups)?;
            }
            first += groups;
        }
        for (part, out) in [(part_w, &io.outputs[1]), (part_b, &io.outputs[2])] {
            record_sum(rec, [1, first, d], part, sums, out)?;
        }
        Ok(())
    }
    twin!();
}

impl LayerNormGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let op = layer_norm_grad::LayerNormGrad {
            dy: io.input(0),
            x: io.input(1),
            w: io.input(2),
            mean: io.input(3),
            rstd: io.input(4),
        };
        let [dx, dw, db] = io.outputs_n();
        op.run(dx, dw, db);
    }
}
