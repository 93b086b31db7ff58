//! `slice_tokens_grad`: the gradient of taking some tokens. Twin: `reference/slice_tokens_grad.rs`.

use super::slice_tokens::SliceTokens;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, slice_tokens_grad};
use crate::{kernel, twin};

/// dy [b,count,..] -> dx [b,tokens,..]: dy at the slice's place, zero elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct SliceTokensGrad {
    /// The forward op.
    pub slice: SliceTokens,
    /// Tokens that it took them from.
    pub tokens: usize,
}

impl Op for SliceTokensGrad {
    fn name(&self) -> &'static str {
        "slice_tokens_grad"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let mut d = inputs[0].dims().to_vec();
        match d.get_mut(1) {
            Some(n) if *n == self.slice.count => *n = self.tokens,
            _ => return Err(format!("needs [b,{},..]", self.slice.count)),
        }
        Ok(vec![TensorType::f32(d.as_slice())])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (dy, dx) = (&io.inputs[0], &io.outputs[0]);
        let width = SliceTokens::width(dx.dims());
        let sizes = (self.tokens * width, width);
        let kernel = kernel!("slice_tokens_grad", "main");
        self.slice.dispatch(rec, kernel, sizes, dy, dx)
    }
    twin!();
}

impl SliceTokensGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let width = SliceTokens::width(io.input_types[0].dims());
        let dy = io.input(0);
        let slice = (self.slice.first * width, self.slice.count * width);
        slice_tokens_grad::slice_tokens_grad(self.tokens * width, slice, dy, io.output(0));
    }
}
