//! `barlow_loss_grad`: the gradient of redundancy reduction. Twin: `reference/barlow_loss_grad.rs`.

use super::barlow_loss::BarlowLoss;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, barlow_loss_grad};
use crate::{kernel, twin};

/// dloss [c,d], k [c,d,d], r alike if adaptive -> dk, dr alike.
#[derive(Clone, Copy, Debug)]
pub struct BarlowLossGrad {
    /// The forward op.
    pub loss: BarlowLoss,
}

impl Op for BarlowLossGrad {
    fn name(&self) -> &'static str {
        "barlow_loss_grad"
    }
    fn class(&self) -> Class {
        Class::Loss
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [c, d, _] = inputs[1].rank("k")?;
        if inputs[0].dims() != [c, d] {
            return Err("needs dloss [c,d]".into());
        }
        Ok(inputs[1..].iter().map(|t| (*t).clone()).collect())
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let k = &io.inputs[1];
        let mut bound = vec![&io.inputs[0], k, &io.outputs[0]];
        if self.loss.adaptive() {
            bound.extend([&io.inputs[2], &io.outputs[1]]);
        }
        let kernel = kernel!("barlow_loss_grad", "main").flag("ADAPTIVE", self.loss.adaptive());
        let groups = k.elements().div_ceil(64);
        Ok(rec.dispatch(&kernel, &self.loss.params(k), &bound, groups)?)
    }
    twin!();
}

impl BarlowLossGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let form = self.loss.form(io.input_types[1].dims()[2]);
        let (dloss, k) = (io.input(0), io.input(1));
        if self.loss.adaptive() {
            let r = io.input(2);
            let [dk, dr] = io.outputs_n();
            barlow_loss_grad::barlow_loss_grad(&form, dloss, k, dk, Some((r, dr)));
        } else {
            barlow_loss_grad::barlow_loss_grad(&form, dloss, k, io.output(0), None);
        }
    }
}
