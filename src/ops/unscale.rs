//! `unscale`: takes the loss scale out of gradients. Twin: `reference/unscale.rs`.

use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, unscale};
use crate::{kernel, twin};

/// Input scale [1]; updates g, any shape: `g = g / scale`.
#[derive(Clone, Copy, Debug)]
pub struct Unscale;

impl Op for Unscale {
    fn name(&self) -> &'static str {
        "unscale"
    }
    fn class(&self) -> Class {
        Class::Optimiser
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [scale, _] if scale.elements() == 1 => Ok(Vec::new()),
            _ => Err("needs a scale [1]; gradients".into()),
        }
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let kernel = kernel!("unscale", "main");
        Ok(elementwise::record_with(
            rec,
            kernel,
            &[&io.inputs[0]],
            &[&io.updates[0]],
            0.0,
            0.0,
        )?)
    }
    twin!();
}

impl Unscale {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let scale = io.input(0)[0];
        unscale::unscale(scale, io.updates[0].float());
    }
}
