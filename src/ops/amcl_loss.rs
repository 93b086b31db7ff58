//! `amcl_loss`: the loss of each anchor and head from similarities and scores. Twin: `reference/amcl_loss.rs`.

use super::amcl_loss_grad::AmclLossGrad;
use crate::device::recording::Recorder;
use crate::graph::{
    Bindings, Graph, HostIo, NodeId, Op, Result, StepScalars, TensorId, TensorType,
};
use crate::reference::Scalar;
use crate::reference::amcl_loss::{self, Form};
use crate::reference::top_k::Candidates;
use crate::{kernel, twin};

/// Inputs: s [c,n,n] in NT-Xent layout; r [c or 1,n,n] unless both roles are constant; value, index [c,n] of [`super::top_k::TopK`] if `top_k`.
/// Outputs: loss [c,n], norm [c,n]. Eqs. (2.1), (2.4) and the softmax and top-kappa forms: `shaders/amcl_loss.wgsl`.
#[derive(Clone, Copy, Debug)]
pub struct AmclLoss {
    /// The mean over selected candidates; else the log-sum-exp over all.
    pub top_k: bool,
    /// Use the log-sum-exp while the step says warm-up.
    pub warmup: bool,
    /// Regulariser of the selected: `sum(log tau + 1/tau)` instead of the mean of Omega.
    pub official_sum: bool,
    /// The positive's temperature is adaptive.
    pub adaptive_pos: bool,
    /// The candidates' temperatures are adaptive.
    pub adaptive_neg: bool,
    /// The positive is among the candidates (Eq. 2.4).
    pub include_positive: bool,
    /// Weight of Omega.
    pub beta: f32,
    /// Least temperature.
    pub eta: f32,
    /// Range of the temperature.
    pub iota: f32,
    /// Temperature of a constant role.
    pub tau_const: f32,
    /// d', the heads' output dimension, in Omega.
    pub d: usize,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Params {
    sizes: [u32; 4],
    flags: [u32; 8],
    reals: [f32; 5],
    pub total: u32,
    r: [u32; 2],
}

impl AmclLoss {
    /// Any role adaptive.
    pub fn adaptive(&self) -> bool {
        self.adaptive_pos || self.adaptive_neg
    }

    /// Number of inputs: s, r, value, index.
    fn inputs(&self) -> usize {
        1 + usize::from(self.adaptive()) + 2 * usize::from(self.top_k)
    }

    pub(super) fn params(&self, s: &[usize], score_heads: usize, total: usize) -> Params {
        let flag = u32::from;
        Params {
            sizes: [s[0], s[1], s[2], score_heads].map(|v| v as u32),
            flags: [
                1,
                flag(self.include_positive),
                flag(!self.top_k),
                flag(self.warmup),
                flag(self.adaptive_pos),
                flag(self.adaptive_neg),
                flag(self.official_sum),
                0,
            ],
            reals: [
                self.beta,
                self.eta,
                self.iota,
                self.tau_const,
                self.d as f32 / 2.0,
            ],
            total: total as u32,
            r: [0; 2],
        }
    }

    pub(super) fn form<T: Scalar>(
        &self,
        s: &[usize],
        score_heads: usize,
        step: &StepScalars,
    ) -> Form<T> {
        let of = |v: f32| T::of(f64::from(v));
        Form {
            candidates: Candidates {
                anchors: s[1],
                ntxent: true,
                include_positive: self.include_positive,
            },
            n: s[2],
            score_heads,
            softmax: !self.top_k || self.warmup && step.flags & StepScalars::WARMUP != 0,
            official_sum: self.official_sum,
            adaptive_pos: self.adaptive_pos,
            adaptive_neg: self.adaptive_neg,
            beta: of(self.beta),
            eta: of(self.eta),
            iota: of(self.iota),
            tau_const: of(self.tau_const),
            half_d: T::of(self.d as f64 / 2.0),
        }
    }

    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let s = io.input(0);
        let (types, a) = (io.input_types, usize::from(self.adaptive()));
        let scores = self.adaptive().then(|| io.input(1));
        let selection = self.top_k.then(|| (io.input(1 + a), io.input_u32(2 + a)));
        let heads = if self.adaptive() {
            types[1].dims()[0]
        } else {
            1
        };
        let form = self.form(types[0].dims(), heads, &io.step);
        let [loss, norm] = io.outputs_n();
        amcl_loss::amcl_loss(&form, s, scores, selection, loss, norm);
    }
}

impl Op for AmclLoss {
    fn name(&self) -> &'static str {
        "amcl_loss"
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        if inputs.len() != self.inputs() {
            return Err(format!("needs {} inputs", self.inputs()));
        }
        let [c, a, n] = inputs[0].rank("s")?;
        if a != n || n % 2 == 1 || n < 4 {
            return Err(
                "similarities are a square matrix a head, of both views of at least two images"
                    .into(),
            );
        }
        if self.adaptive() {
            let [cr, ra, rn] = inputs[1].rank("r")?;
            if (cr != c && cr != 1) || (ra, rn) != (a, n) {
                return Err("scores need the similarities' shape, or one head's".into());
            }
        }
        Ok(vec![TensorType::f32([c, a]), TensorType::f32([c, a])])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let (inputs, norm) = (g.node(node).inputs.clone(), g.node(node).outputs[1]);
        let Some(dloss) = dy[0] else {
            return Ok(vec![None; inputs.len()]);
        };
        let mut all = vec![dloss, inputs[0], norm];
        all.extend(&inputs[1..]);
        let d = g.push(AmclLossGrad { loss: *self }, &all)?;
        let mut out: Vec<Option<TensorId>> = d.into_iter().map(Some).collect();
        out.resize(inputs.len(), None);
        Ok(out)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let s = &io.inputs[0];
        let rows = s.dims()[0] * s.dims()[1];
        let heads = if self.adaptive() {
            io.inputs[1].dims()[0]
        } else {
            1
        };
        let mut bound = vec![s, &io.outputs[0], &io.outputs[1]];
        bound.extend(&io.inputs[1..]);
        let k = kernel!("amcl_loss", "main")
            .flag("ADAPTIVE", self.adaptive())
            .flag("TOPK", self.top_k);
        Ok(rec.dispatch(&k, &self.params(s.dims(), heads, rows), &bound, rows)?)
    }
    twin!();
}
