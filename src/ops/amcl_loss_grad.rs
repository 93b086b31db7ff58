//! `amcl_loss_grad`: the manual backward pass of the AMCL loss. Twin: `reference/amcl_loss_grad.rs`.

use super::amcl_loss::{AmclLoss, Cut};
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::Scalar;
use crate::reference::amcl_loss_grad::{self, Saved};
use crate::{kernel, twin};

/// Inputs: dloss [c,n], s [c,n,n], norm [c,n], then r, value, index as the loss had them. Outputs: ds as s, dr as r
/// if there are scores.
#[derive(Clone, Copy, Debug)]
pub struct AmclLossGrad {
    /// The forward op.
    pub loss: AmclLoss,
}

impl Op for AmclLossGrad {
    fn name(&self) -> &'static str {
        "amcl_loss_grad"
    }
    fn class(&self) -> Class {
        Class::Loss
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let mut out = vec![inputs[1].clone()];
        if self.loss.form.adaptive() {
            out.push(inputs[3].clone());
        }
        Ok(out)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let s = &io.inputs[1];
        let adaptive = self.loss.form.adaptive();
        let mut cuts = vec![
            Cut::Row(&io.inputs[0]),
            Cut::Matrix(s),
            Cut::Row(&io.inputs[2]),
            Cut::Matrix(&io.outputs[0]),
        ];
        let mut heads = 1;
        if adaptive {
            cuts.extend([Cut::Score(&io.inputs[3]), Cut::Score(&io.outputs[1])]);
            heads = io.inputs[3].dims()[0];
        }
        cuts.extend(io.inputs[3 + usize::from(adaptive)..].iter().map(Cut::Row));
        let k = kernel!("amcl_loss_grad", "main");
        self.loss
            .record_rows(rec, k, s.dims(), heads, &cuts, |rows, n| {
                (rows * n).div_ceil(64)
            })
    }
    twin!();
}

impl AmclLossGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let adaptive = self.loss.form.adaptive();
        let a = usize::from(adaptive);
        let saved = Saved {
            dloss: io.input(0),
            s: io.input(1),
            norm: io.input(2),
            scores: adaptive.then(|| io.input(3)),
            selection: self
                .loss
                .form
                .top_k
                .then(|| (io.input(3 + a), io.input_u32(4 + a))),
        };
        let heads = if adaptive {
            io.input_types[3].dims()[0]
        } else {
            1
        };
        let sizes = self.loss.sizes(io.input_types[1].dims(), heads);
        let form = self.loss.form.at(sizes, &io.step);
        if adaptive {
            let [ds, dr] = io.outputs_n();
            amcl_loss_grad::amcl_loss_grad(&form, &saved, ds, Some(dr));
        } else {
            amcl_loss_grad::amcl_loss_grad(&form, &saved, io.output(0), None);
        }
    }
}
