//! `amcl_loss_grad`: the manual backward pass of the AMCL loss. Twin: `reference/amcl_loss_grad.rs`.

use super::amcl_loss::AmclLoss;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, HostIo, Op, Result, TensorType};
use crate::reference::Scalar;
use crate::reference::amcl_loss_grad::{self, Saved};
use crate::{kernel, twin};

/// Inputs: dloss [c,n], s [c,n,n], norm [c,n], then r, value, index as the loss had them. Outputs: ds as s, dr as r if there are scores.
#[derive(Clone, Copy, Debug)]
pub struct AmclLossGrad {
    /// The forward op.
    pub loss: AmclLoss,
}

impl Op for AmclLossGrad {
    fn name(&self) -> &'static str {
        "amcl_loss_grad"
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let mut out = vec![inputs[1].clone()];
        if self.loss.adaptive() {
            out.push(inputs[3].clone());
        }
        Ok(out)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (dloss, s, norm) = (&io.inputs[0], &io.inputs[1], &io.inputs[2]);
        let adaptive = self.loss.adaptive();
        let heads = if adaptive {
            io.inputs[3].dims()[0]
        } else {
            s.dims()[0]
        };
        let total = heads * s.dims()[1] * s.dims()[2];
        let mut bound = vec![dloss, s, norm, &io.outputs[0]];
        if adaptive {
            bound.extend([&io.inputs[3], &io.outputs[1]]);
        }
        bound.extend(&io.inputs[3 + usize::from(adaptive)..]);
        let k = kernel!("amcl_loss_grad", "main")
            .flag("ADAPTIVE", adaptive)
            .flag("TOPK", self.loss.top_k);
        Ok(rec.dispatch(
            &k,
            &self.loss.params(s.dims(), heads, total),
            &bound,
            total.div_ceil(64),
        )?)
    }
    twin!();
}

impl AmclLossGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let adaptive = self.loss.adaptive();
        let a = usize::from(adaptive);
        let saved = Saved {
            dloss: io.input(0),
            s: io.input(1),
            norm: io.input(2),
            scores: adaptive.then(|| io.input(3)),
            selection: self
                .loss
                .top_k
                .then(|| (io.input(3 + a), io.input_u32(4 + a))),
        };
        let heads = if adaptive {
            io.input_types[3].dims()[0]
        } else {
            1
        };
        let form = self.loss.form(io.input_types[1].dims(), heads, &io.step);
        if adaptive {
            let [ds, dr] = io.outputs_n();
            amcl_loss_grad::amcl_loss_grad(&form, &saved, ds, Some(dr));
        } else {
            amcl_loss_grad::amcl_loss_grad(&form, &saved, io.output(0), None);
        }
    }
}
