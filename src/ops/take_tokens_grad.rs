//! `take_tokens_grad`: the gradient of a fill, the mask token's. Twin: `reference/take_tokens_grad.rs`.

use super::column_sum::{self, record_sum};
use crate::device::Limits;
use crate::device::recording::{Recorder, row_chunks, row_chunks_of};
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{
    Scalar,
    take_tokens_grad::{self, ROWS},
};
use crate::{kernel, twin};

/// dy [b,m,d], index u32 [b,m] -> [d]: the sum of dy where the index names none of the `tokens`. (The gradient by the
/// tokens is [`super::take_tokens::TakeTokens`] by the inverse.)
#[derive(Clone, Copy, Debug)]
pub struct TakeTokensGrad {
    /// Tokens that there were to take.
    pub tokens: usize,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    d: u32,
    n: u32,
    first: u32,
}

impl Op for TakeTokensGrad {
    fn name(&self) -> &'static str {
        "take_tokens_grad"
    }
    fn class(&self) -> Class {
        Class::Reduction
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [b, m, d] = inputs[0].rank("dy")?;
        if inputs.len() != 2 || *inputs[1] != TensorType::u32([b, m]) {
            return Err("needs dy [b,m,d] and index u32 [b,m]".into());
        }
        Ok(vec![TensorType::f32([d])])
    }
    fn workspace(&self, inputs: &[&TensorType], limits: &Limits) -> Vec<TensorType> {
        let dims = inputs[0].dims();
        let (m, d) = (dims[1], dims[2]);
        let pieces = row_chunks_of(&[(dims, 4), (&dims[..2], 4)], limits);
        let parts: usize = pieces.iter().map(|r| (r.len() * m).div_ceil(ROWS)).sum();
        let sums = parts.div_ceil(column_sum::ROWS);
        vec![TensorType::f32([parts, d]), TensorType::f32([sums, d])]
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (dy, index) = (&io.inputs[0], &io.inputs[1]);
        let (m, d) = (dy.dims()[1], dy.dims()[2]);
        let part = &io.workspace[0];
        let mut first = 0;
        for r in row_chunks(&[dy, index], rec.limits()) {
            let rows = r.len() * m;
            let p = Params {
                rows: rows as u32,
                d: d as u32,
                n: self.tokens as u32,
                first: first as u32,
            };
            let bound = [&dy.rows(r.clone()), &index.rows(r), part];
            let parts = rows.div_ceil(ROWS);
            let kernel = kernel!("take_tokens_grad", "main");
            rec.dispatch(&kernel, &p, &bound, (parts * d).div_ceil(64))?;
            first += parts;
        }
        record_sum(rec, [1, first, d], part, &io.workspace[1], &io.outputs[0])
    }
    twin!();
}

impl TakeTokensGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (dy, index) = (io.input(0), io.input_u32(1));
        take_tokens_grad::take_tokens_grad(self.tokens, dy, index, io.output(0));
    }
}
