//! `amcl_stream`: the AMCL loss from embeddings, without matrices of all pairs. Twin: `reference/amcl_stream.rs`.

use super::amcl_form::{AmclForm, Sizes};
use super::amcl_loss::Cut;
use super::amcl_stream_grad::AmclStreamGrad;
use super::top_k::check_layout;
use crate::device::recording::{Kernel, Recorder, View};
use crate::graph::{
    Bindings, Class, Cost, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType,
};
use crate::reference::Scalar;
use crate::reference::amcl_loss::Form;
use crate::reference::amcl_stream::{self, Rows};
use crate::reference::top_k::Layout;
use crate::{kernel, twin};

/// Inputs: z [c,a,d] of unit rows in NT-Xent's arrangement; phi's features [c or 1,a,d] unless both roles are constant;
/// value, index [c,a] of [`super::top_k_stream::TopKStream`] if the form selects. Outputs: loss [c,a], norm [c,a].
/// What `amcl_loss` gives for the products of these, in memory that grows with a and not with its square.
#[derive(Clone, Copy, Debug)]
pub struct AmclStream {
    /// Switches and constants.
    pub form: AmclForm,
}

/// Mirrors `shaders/lib/pair_tile.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Params {
    sizes: [u32; 4],
    offsets: [u32; 3],
    accumulate: u32,
    arrangement: u32,
    include_positive: u32,
    adaptive: [u32; 2],
    reals: [f32; 5],
    first: u32,
    tiles: u32,
    kappa: u32,
    warmup: u32,
    official_sum: u32,
    r: [u32; 2],
}

impl Params {
    /// For a selection.
    pub(super) fn selecting(kappa: usize, include_positive: bool) -> Self {
        Self {
            include_positive: include_positive.into(),
            kappa: kappa as u32,
            ..Self::default()
        }
    }
}

/// Groups of a dispatch, about: enough to fill a large GPU. Each walks over all columns, so that more at once might
/// run for longer than a driver's watchdog allows.
const GROUPS: usize = 512;

impl AmclStream {
    /// Inputs that have gradients: z and the features.
    pub(super) fn operands(&self) -> usize {
        1 + usize::from(self.form.adaptive())
    }

    /// Number of inputs: z, features, value, index.
    pub(super) fn inputs(&self) -> usize {
        self.operands() + 2 * usize::from(self.form.top_k)
    }

    /// What is wrong with the inputs.
    pub(super) fn check(&self, inputs: &[&TensorType]) -> std::result::Result<[usize; 3], String> {
        if inputs.len() != self.inputs() {
            return Err("needs z, features where a temperature adapts, value and index where some candidates \
                are selected".into());
        }
        let [c, a, d] = inputs[0].rank("z")?;
        check_layout(Layout::NtXent, a, a)?;
        if self.form.adaptive() {
            let [cf, fa, fd] = inputs[1].rank("features")?;
            if (cf != c && cf != 1) || (fa, fd) != (a, d) {
                return Err("features need z's shape, or one head's".into());
            }
        }
        for t in &inputs[self.operands()..] {
            if t.dims() != [c, a] {
                return Err(format!("value and index should be {:?}", [c, a]));
            }
        }
        Ok([c, a, d])
    }

    /// Records `kernel`, of this loss or its gradient; see [`record_heads`].
    pub(super) fn record_heads(
        &self,
        rec: &mut Recorder<'_>,
        kernel: Kernel,
        dims: &[usize],
        score_heads: usize,
        cuts: &[Cut<'_>],
        chunks: usize,
    ) -> Result<()> {
        let (form, flag) = (&self.form, u32::from);
        let p = Params {
            include_positive: flag(form.include_positive),
            adaptive: [flag(form.adaptive_pos), flag(form.adaptive_neg)],
            reals: form.reals(dims[2]),
            warmup: flag(form.warmup),
            official_sum: flag(form.official_sum),
            ..Params::default()
        };
        let kernel = form.flagged(kernel);
        let shared = form.adaptive() && score_heads != dims[0];
        record_heads(rec, kernel, dims, shared, cuts, chunks, p)
    }

    /// Operations of one product of all pairs with rows of d, for each of z and the features.
    pub(super) fn product_flops(&self, z: &TensorType) -> f64 {
        let d = z.dims();
        let operands = 1.0 + f64::from(u8::from(self.form.adaptive()));
        operands * 2.0 * (d[0] * d[1] * d[1] * d[2]) as f64
    }
}

impl Op for AmclStream {
    fn name(&self) -> &'static str {
        "amcl_stream"
    }
    fn class(&self) -> Class {
        Class::FusedProduct
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [c, a, _] = self.check(inputs)?;
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
        let mut all = inputs;
        all.extend([dloss, norm]);
        let d = g.push(AmclStreamGrad { loss: *self }, &all)?;
        let mut out: Vec<Option<TensorId>> = d.into_iter().map(Some).collect();
        out.resize(self.inputs(), None);
        Ok(out)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let z = &io.inputs[0];
        let (operands, selection) = io.inputs.split_at(self.operands());
        let mut cuts = vec![Cut::Matrix(z)];
        cuts.extend(operands[1..].iter().map(Cut::Score));
        cuts.extend(io.outputs.iter().chain(selection).map(Cut::Row));
        let heads = operands.get(1).map_or(1, |f| f.dims()[0]);
        self.record_heads(
            rec,
            kernel!("amcl_stream", "main"),
            z.dims(),
            heads,
            &cuts,
            1,
        )
    }
    twin!();
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost {
            flops: self.product_flops(inputs[0]),
            bytes: inputs.iter().chain(outputs).map(|t| t.bytes() as f64).sum(),
        }
    }
}

/// Records `kernel`, with `p`'s switches, over the heads of z of shape `dims`: in one dispatch, or one a head where
/// heads share the features (`shared`) or a tensor exceeds one binding. A head and 64 of its anchors take `chunks`
/// groups.
pub(super) fn record_heads(
    rec: &mut Recorder<'_>,
    kernel: Kernel,
    dims: &[usize],
    shared: bool,
    cuts: &[Cut<'_>],
    chunks: usize,
    p: Params,
) -> Result<()> {
    let (c, a, d) = (dims[0], dims[1], dims[2]);
    let whole = !shared && c * a * d * 4 <= rec.limits().max_binding;
    let (blocks, heads) = if whole { (1, c) } else { (c, 1) };
    let kernel = kernel.define("COLS", "16u").flag("VEC4", d % 4 == 0);
    for block in 0..blocks {
        let (mut off_z, mut off_f, mut off_row) = (0, 0, 0);
        let views: Vec<View> = cuts
            .iter()
            .map(|cut| {
                let (view, at, len, slot) = match cut {
                    Cut::Matrix(v) => (v, block, heads * a * d, &mut off_z),
                    Cut::Score(v) if shared => (v, 0, a * d, &mut off_f),
                    Cut::Score(v) => (v, block, heads * a * d, &mut off_f),
                    Cut::Row(v) => (v, block, heads * a, &mut off_row),
                };
                let (view, off) = view.window(at * len..(at + 1) * len);
                *slot = off;
                view
            })
            .collect();
        let bound: Vec<&View> = views.iter().collect();
        let tiles = a.div_ceil(64);
        let step = (GROUPS / (heads * chunks)).max(1);
        for first in (0..tiles).step_by(step) {
            let count = step.min(tiles - first);
            let p = Params {
                sizes: [a, d, heads, chunks].map(|v| v as u32),
                offsets: [off_z, off_f, off_row],
                accumulate: u32::from(shared && block > 0),
                arrangement: Layout::NtXent as u32,
                first: first as u32,
                tiles: count as u32,
                ..p
            };
            rec.dispatch(&kernel, &p, &bound, heads * count * chunks)?;
        }
    }
    Ok(())
}

impl AmclStream {
    /// The operands of the twins.
    pub(super) fn rows<'a, T: Scalar>(&self, io: &HostIo<'a, T>) -> (Form<T>, Rows<'a, T>) {
        let (types, adaptive) = (io.input_types, self.form.adaptive());
        let heads = if adaptive { types[1].dims()[0] } else { 1 };
        let last = self.operands();
        let rows = Rows {
            z: io.input(0),
            features: adaptive.then(|| io.input(1)),
            d: types[0].dims()[2],
            selection: self
                .form
                .top_k
                .then(|| (io.input(last), io.input_u32(last + 1))),
        };
        let dims = types[0].dims();
        let sizes = Sizes {
            anchors: dims[1],
            n: dims[1],
            layout: Layout::NtXent,
            score_heads: heads,
            d: dims[2],
        };
        (self.form.at(sizes, &io.step), rows)
    }

    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (form, rows) = self.rows(io);
        let [loss, norm] = io.outputs_n();
        amcl_stream::amcl_stream(&form, &rows, loss, norm);
    }
}
