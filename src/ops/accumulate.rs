//! `accumulate`: gradients summed over micro-batches. Twin: `reference/accumulate.rs`.

use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, accumulate};
use crate::{kernel, twin};

/// Input g; updates acc: `acc = (first micro-batch ? 0 : acc) + g * step.grad_scale`.
#[derive(Clone, Copy, Debug)]
pub struct Accumulate;

impl Op for Accumulate {
    fn name(&self) -> &'static str {
        "accumulate"
    }
    fn class(&self) -> Class {
        Class::Optimiser
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        elementwise::same(inputs).map(|_| Vec::new())
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        Ok(elementwise::record(
            rec,
            kernel!("accumulate", "main"),
            &[&io.inputs[0], &io.updates[0]],
            0.0,
            0.0,
        )?)
    }
    twin!();
}

impl Accumulate {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let g = io.input(0);
        let (first, factor) = (io.step.micro == 0, T::of(f64::from(io.step.grad_scale)));
        accumulate::accumulate(first, factor, g, io.updates[0].float());
    }
}
