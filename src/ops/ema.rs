//! `ema`: an exponential moving average (the momentum encoder). Twin: `reference/ema.rs`.

use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, ema};
use crate::{kernel, twin};

/// Input x; updates target: `target = m * target + (1 - m) * x`, m = step.ema.
#[derive(Clone, Copy, Debug)]
pub struct Ema;

impl Op for Ema {
    fn name(&self) -> &'static str {
        "ema"
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
            kernel!("ema", "main"),
            &[&io.inputs[0], &io.updates[0]],
            0.0,
            0.0,
        )?)
    }
    twin!();
}

impl Ema {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        let m = T::of(f64::from(io.step.ema));
        ema::ema(m, x, io.updates[0].float());
    }
}
