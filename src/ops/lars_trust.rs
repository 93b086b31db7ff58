//! `lars_trust`: LARS's trust ratio of every parameter tensor, for [`super::sgd::Sgd`]. Twin:
//! `reference/lars_trust.rs`.

use crate::device::Limits;
use crate::device::recording::Recorder;
use crate::graph::state::ALIGN;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, lars_trust};
use crate::{kernel, twin};

/// Inputs: grads [n], params [n], segment u32 [n/64], table [segments,4] -> table with the trust ratios filled.
///
/// trust = eta |w| / (|g| + wd |w| + 1e-8) (You, Gitman, Ginsburg 2017); 1 where a norm is zero, or where the table's
/// third entry is negative (biases and normalisation, which LARS leaves out). Norms are those before clipping.
/// With `of_step` the divisor is |g + wd w|, as MAE's code has it.
#[derive(Clone, Copy, Debug)]
pub struct LarsTrust {
    /// Trust coefficient.
    pub eta: f32,
    /// Divide by the norm of the step, weight decay included, in place of the sum of both norms.
    pub of_step: bool,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    blocks: u32,
    segments: u32,
    first: u32,
    eta: f32,
}

impl Op for LarsTrust {
    fn name(&self) -> &'static str {
        "lars_trust"
    }
    fn class(&self) -> Class {
        Class::Optimiser
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [grad, w, segment, table] = inputs else {
            return Err("needs grads, parameters, segments, table".into());
        };
        let n = grad.elements();
        let [_, 4] = table.rank::<2>("table")? else {
            return Err("the table has rows of four".into());
        };
        if w.elements() != n || n % ALIGN != 0 || segment.elements() != n / ALIGN {
            return Err(
                "vectors of one length (a multiple of 64), a segment per 64 elements".into(),
            );
        }
        Ok(vec![(*table).clone()])
    }
    fn workspace(&self, inputs: &[&TensorType], _limits: &Limits) -> Vec<TensorType> {
        vec![TensorType::f32([inputs[0].elements() / ALIGN, 2])]
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (grad, w, segment, table) =
            (&io.inputs[0], &io.inputs[1], &io.inputs[2], &io.inputs[3]);
        let part = &io.workspace[0];
        let n = grad.elements();
        let segments = table.dims()[0];
        let params = |blocks: usize, first: usize| Params {
            blocks: blocks as u32,
            segments: segments as u32,
            first: first as u32,
            eta: self.eta,
        };
        let partial = kernel!("lars_trust", "partial")
            .define("PARTIAL", "")
            .flag("OF_STEP", self.of_step);
        let piece = (rec.limits().max_binding / 4 / ALIGN * ALIGN).max(ALIGN);
        for start in (0..n).step_by(piece) {
            let end = (start + piece).min(n);
            let blocks = (end - start) / ALIGN;
            let (g, w) = (grad.flat(start..end), w.flat(start..end));
            let mut views = vec![&g, &w, part];
            if self.of_step {
                views.extend([segment, table]);
            }
            rec.dispatch(
                &partial,
                &params(blocks, start / ALIGN),
                &views,
                blocks.div_ceil(64),
            )?;
        }
        Ok(rec.dispatch(
            &kernel!("lars_trust", "combine").flag("OF_STEP", self.of_step),
            &params(n / ALIGN, 0),
            &[part, segment, table, &io.outputs[0]],
            segments,
        )?)
    }
    twin!();
}

impl LarsTrust {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (grad, w, segment, table) = (io.input(0), io.input(1), io.input_u32(2), io.input(3));
        let eta = T::of(f64::from(self.eta));
        let op = lars_trust::LarsTrust {
            eta,
            of_step: self.of_step,
        };
        op.run(grad, w, segment, table, io.output(0));
    }
}
