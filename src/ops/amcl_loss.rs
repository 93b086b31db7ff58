//! `amcl_loss`: the loss of each anchor and head from similarities and scores. Twin: `reference/amcl_loss.rs`.

use super::amcl_form::{AmclForm, Sizes};
use super::amcl_loss_grad::AmclLossGrad;
use super::top_k::{check_layout, runs};
use crate::device::recording::{Kernel, Recorder, View};
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::Scalar;
use crate::reference::amcl_loss;
use crate::reference::top_k::Layout;
use crate::{kernel, twin};

/// Inputs: s [c,a,n] as `layout` arranges it; r [c or 1,a,n] unless both roles are constant; value, index [c,a] of
/// [`super::top_k::TopK`] if the form selects. Outputs: loss [c,a], norm [c,a].
#[derive(Clone, Copy, Debug)]
pub struct AmclLoss {
    /// Switches and constants.
    pub form: AmclForm,
    /// Arrangement of the columns.
    pub layout: Layout,
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
    /// Number of inputs: s, r, value, index.
    fn inputs(&self) -> usize {
        1 + usize::from(self.form.adaptive()) + 2 * usize::from(self.form.top_k)
    }

    /// Records `kernel` over the rows of s [c,a,n]: in one dispatch, or one a head where heads share the scores of
    /// `score_heads` = 1, in pieces where a tensor exceeds one binding. `groups` of (rows, n).
    pub(super) fn record_rows(
        &self,
        rec: &mut Recorder<'_>,
        kernel: Kernel,
        dims: &[usize],
        score_heads: usize,
        cuts: &[Cut<'_>],
        groups: fn(usize, usize) -> usize,
    ) -> Result<()> {
        let (c, a, n) = (dims[0], dims[1], dims[2]);
        let form = &self.form;
        let shared = form.adaptive() && score_heads != c;
        let kernel = form.flagged(kernel);
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
                        flag(form.include_positive),
                        flag(!form.top_k),
                        flag(form.warmup),
                        flag(form.adaptive_pos),
                        flag(form.adaptive_neg),
                        flag(form.official_sum),
                    ],
                    reals: form.reals(self.d),
                };
                let bound: Vec<&View> = views.iter().collect();
                rec.dispatch(&kernel, &p, &bound, groups(r.len(), n))?;
            }
        }
        Ok(())
    }

    /// The sizes of similarities of shape `s`.
    pub(super) fn sizes(&self, s: &[usize], score_heads: usize) -> Sizes {
        Sizes {
            anchors: s[1],
            n: s[2],
            layout: self.layout,
            score_heads,
            d: self.d,
        }
    }

    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let s = io.input(0);
        let (types, adaptive) = (io.input_types, self.form.adaptive());
        let a = usize::from(adaptive);
        let scores = adaptive.then(|| io.input(1));
        let selection = self
            .form
            .top_k
            .then(|| (io.input(1 + a), io.input_u32(2 + a)));
        let heads = if adaptive { types[1].dims()[0] } else { 1 };
        let form = self.form.at(self.sizes(types[0].dims(), heads), &io.step);
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
        if self.form.adaptive() {
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
        if self.form.adaptive() {
            cuts.push(Cut::Score(&io.inputs[1]));
            heads = io.inputs[1].dims()[0];
        }
        cuts.extend(
            io.inputs[1 + usize::from(self.form.adaptive())..]
                .iter()
                .map(Cut::Row),
        );
        let k = kernel!("amcl_loss", "main");
        self.record_rows(rec, k, s.dims(), heads, &cuts, |rows, _| rows)
    }
    twin!();
}
