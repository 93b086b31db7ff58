//! `amcl_loss`: the loss of each anchor and head from similarities and scores. Twin: `reference/amcl_loss.rs`.

use super::amcl_loss_grad::AmclLossGrad;
use super::top_k::{check_layout, runs};
use crate::device::recording::{Kernel, Recorder, View};
use crate::graph::{
    Bindings, Class, Graph, HostIo, NodeId, Op, Result, StepScalars, TensorId, TensorType,
};
use crate::reference::Scalar;
use crate::reference::amcl_loss::{self, Form};
use crate::reference::temperature::Temperature;
use crate::reference::top_k::{Candidates, Layout};
use crate::{kernel, twin};

/// Inputs: s [c,a,n] as `layout` arranges it; r [c or 1,a,n] unless both roles are constant; value, index [c,a] of [`super::top_k::TopK`] if `top_k`.
/// Outputs: loss [c,a], norm [c,a]. Eqs. (2.1), (2.4) and the softmax and top-kappa forms: `shaders/amcl_loss.wgsl`.
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
    /// Arrangement of the columns.
    pub layout: Layout,
    /// Weight of Omega.
    pub beta: f64,
    /// Least temperature.
    pub eta: f64,
    /// Range of the temperature.
    pub iota: f64,
    /// Temperature of a constant role.
    pub tau_const: f64,
    /// d', the heads' output dimension, in Omega.
    pub d: usize,
}

/// Mirrors `shaders/lib/amcl_params.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    a: u32,
    n: u32,
    rows: u32,
    first: u32,
    off_s: u32,
    off_row: u32,
    off_r: u32,
    accumulate: u32,
    flags: [u32; 7],
    reals: [f32; 5],
}

/// A binding of one dispatch: matrices are cut by rows of n, vectors by single values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut<'a> {
    /// A tensor shaped as the similarities.
    Matrix(&'a View),
    /// A tensor shaped as the scores.
    Score(&'a View),
    /// A value a row of the similarities.
    Row(&'a View),
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

    /// Records `kernel` over the rows of s [c,a,n]: in one dispatch, or one a head where heads share the scores of `score_heads` = 1, in pieces where a
    /// tensor exceeds one binding. `groups` of (rows, n).
    pub(super) fn record_rows(
        &self,
        rec: &mut Recorder<'_>,
        kernel: &Kernel,
        dims: &[usize],
        score_heads: usize,
        cuts: &[Cut<'_>],
        groups: fn(usize, usize) -> usize,
    ) -> Result<()> {
        let (c, a, n) = (dims[0], dims[1], dims[2]);
        let shared = self.adaptive() && score_heads != c;
        let (blocks, rows) = if shared { (c, a) } else { (1, c * a) };
        let flag = u32::from;
        for block in 0..blocks {
            for r in runs(rows, n, rec.limits()) {
                let first = block * rows + r.start;
                let (mut off_s, mut off_row, mut off_r) = (0, 0, 0);
                let views: Vec<View> = cuts
                    .iter()
                    .map(|cut| {
                        let (view, at, slot) = match cut {
                            Cut::Matrix(v) => (v, first * n, &mut off_s),
                            Cut::Score(v) => (v, r.start * n, &mut off_r),
                            Cut::Row(v) => (v, first, &mut off_row),
                        };
                        let len = if matches!(cut, Cut::Row(_)) {
                            r.len()
                        } else {
                            r.len() * n
                        };
                        let (view, off) = view.window(at..at + len);
                        *slot = off;
                        view
                    })
                    .collect();
                let p = Params {
                    a: a as u32,
                    n: n as u32,
                    rows: r.len() as u32,
                    first: first as u32,
                    off_s,
                    off_row,
                    off_r,
                    accumulate: flag(block > 0),
                    flags: [
                        self.layout as u32,
                        flag(self.include_positive),
                        flag(!self.top_k),
                        flag(self.warmup),
                        flag(self.adaptive_pos),
                        flag(self.adaptive_neg),
                        flag(self.official_sum),
                    ],
                    reals: [
                        self.tau_const,
                        self.beta,
                        self.eta,
                        self.iota,
                        self.d as f64 / 2.0,
                    ]
                    .map(|v| v as f32),
                };
                let bound: Vec<&View> = views.iter().collect();
                rec.dispatch(kernel, &p, &bound, groups(r.len(), n))?;
            }
        }
        Ok(())
    }

    pub(super) fn form<T: Scalar>(
        &self,
        s: &[usize],
        score_heads: usize,
        step: &StepScalars,
    ) -> Form<T> {
        Form {
            candidates: Candidates {
                anchors: s[1],
                layout: self.layout,
                include_positive: self.include_positive,
            },
            n: s[2],
            score_heads,
            softmax: !self.top_k || self.warmup && step.flags & StepScalars::WARMUP != 0,
            official_sum: self.official_sum,
            adaptive_pos: self.adaptive_pos,
            adaptive_neg: self.adaptive_neg,
            temperature: Temperature {
                beta: T::of(self.beta),
                eta: T::of(self.eta),
                iota: T::of(self.iota),
                half_d: T::of(self.d as f64 / 2.0),
            },
            tau_const: T::of(self.tau_const * f64::from(step.tau_scale)),
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
    fn class(&self) -> Class {
        Class::Loss
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        if inputs.len() != self.inputs() {
            return Err(format!("needs {} inputs", self.inputs()));
        }
        let [c, a, n] = inputs[0].rank("s")?;
        check_layout(self.layout, a, n)?;
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
        let mut cuts = vec![
            Cut::Matrix(s),
            Cut::Row(&io.outputs[0]),
            Cut::Row(&io.outputs[1]),
        ];
        let mut heads = 1;
        if self.adaptive() {
            cuts.push(Cut::Score(&io.inputs[1]));
            heads = io.inputs[1].dims()[0];
        }
        cuts.extend(
            io.inputs[1 + usize::from(self.adaptive())..]
                .iter()
                .map(Cut::Row),
        );
        let k = kernel!("amcl_loss", "main")
            .flag("ADAPTIVE", self.adaptive())
            .flag("TOPK", self.top_k);
        self.record_rows(rec, &k, s.dims(), heads, &cuts, |rows, _| rows)
    }
    twin!();
}
