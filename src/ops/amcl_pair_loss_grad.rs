//! `amcl_pair_loss_grad`: the gradient of the AMCL loss of pairs without negatives. Twin:
//! `reference/amcl_pair_loss_grad.rs`.

use super::amcl_pair_loss::AmclPairLoss;
use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, amcl_pair_loss_grad};
use crate::{kernel, twin};

/// dl, s, r of one shape -> ds, dr alike.
#[derive(Clone, Copy, Debug)]
pub struct AmclPairLossGrad {
    /// The forward op.
    pub loss: AmclPairLoss,
}

impl Op for AmclPairLossGrad {
    fn name(&self) -> &'static str {
        "amcl_pair_loss_grad"
    }
    fn class(&self) -> Class {
        Class::Loss
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let same = elementwise::same(inputs)?;
        Ok([&same[..], &same[..]].concat())
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let views = [
            &io.inputs[0],
            &io.inputs[1],
            &io.inputs[2],
            &io.outputs[0],
            &io.outputs[1],
        ];
        let kernel = kernel!("amcl_pair_loss_grad", "main");
        self.loss.record_flat(rec, &kernel, &views)
    }
    twin!();
}

impl AmclPairLossGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = [io.input(0), io.input(1), io.input(2)];
        let (form, weight) = (self.loss.form(), T::of(self.loss.weight));
        let [ds, dr] = io.outputs_n();
        amcl_pair_loss_grad::amcl_pair_loss_grad(&form, weight, x, ds, dr);
    }
}
