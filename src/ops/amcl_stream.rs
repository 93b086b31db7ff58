//! `amcl_stream`: the AMCL loss from embeddings, without matrices of all pairs. Twin: `reference/amcl_stream.rs`.

use super::amcl_form::{AmclForm, Sizes};
use super::amcl_stream_grad::AmclStreamGrad;
use super::top_k::check_layout;
use crate::device::recording::{Kernel, Recorder, View};
use crate::graph::{
    Bindings, Class, Cost, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType,
};
use crate::reference::Scalar;
use crate::reference::amcl_loss::Form;
use crate::reference::amcl_stream::{self, Anchors, Centre, Rows};
use crate::reference::top_k::Layout;
use crate::{kernel, twin};

/// Inputs: z [c,a,d] of unit rows in NT-Xent's arrangement; phi's features [c or 1,a,d] unless both roles are constant,
/// and behind them, if scores are centred, gain [1] and mean [c or 1]; value, index [c,a] of `top_k_stream` if the form
/// selects. Outputs: loss, norm [c,own] of the
/// anchors of a share, all a of them by default. What `amcl_loss` gives for the products of these, in memory that grows
/// with a and not with its square.
#[derive(Clone, Copy, Debug)]
pub struct AmclStream {
    /// Switches and constants.
    pub form: AmclForm,
    /// The score at the mean where scores are centred, r = gain (x - mean) + this of the product x of two features;
    /// none: r = x.
    pub centre: Option<f64>,
    /// Which anchors' losses are computed.
    pub share: Share,
}

/// A rank's anchors among those of all ranks: the rows of its images, which stand one behind the other in each view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its number.
    pub rank: usize,
    /// How many there are.
    pub ranks: usize,
}

impl Share {
    /// All anchors.
    pub const WHOLE: Self = Self { rank: 0, ranks: 1 };

    /// How many of a anchors it has.
    pub(super) fn of(self, a: usize) -> usize {
        a / self.ranks
    }

    /// Do a anchors have equal shares?
    pub(super) fn check(self, a: usize) -> std::result::Result<(), String> {
        match a.is_multiple_of(2 * self.ranks) {
            true => Ok(()),
            false => Err(format!(
                "{a} anchors of two views are not those of {} ranks",
                self.ranks
            )),
        }
    }

    /// Groups of 64 of its rows, of which each run begins a new one.
    pub(super) fn tiles(self, a: usize) -> usize {
        let of_runs = self.anchors(a).map(|run| run.len().div_ceil(64));
        of_runs.iter().sum()
    }

    /// Its rows of a.
    pub(super) fn anchors(self, a: usize) -> Anchors {
        let (images, view) = (a / 2 / self.ranks, a / 2);
        let of_view = |v: usize| v * view + self.rank * images..v * view + (self.rank + 1) * images;
        match self.ranks {
            1 => amcl_stream::all(a),
            _ => [of_view(0), of_view(1)],
        }
    }
}

/// Mirrors `shaders/lib/pair_params.wgsl`.
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
    end: u32,
    shift: u32,
    own: u32,
    own_offsets: [u32; 3],
    head0: u32,
    score_heads: u32,
    off_packed: u32,
    centre: f32,
}

/// A tensor that a dispatch binds: what of it belongs to a head, and which offset says where that begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound<'a> {
    /// Rows of d of each head: z.
    Z(&'a View),
    /// The same, or one head's for all: features.
    Feature(&'a View),
    /// A number of every anchor.
    Each(&'a View),
    /// z's gradient, of a share's rows.
    OwnZ(&'a View),
    /// The features' gradient.
    OwnFeature(&'a View),
    /// A number of every anchor of a share.
    Own(&'a View),
    /// Four numbers of every anchor.
    Packed(&'a View),
    /// All of it, whatever the head.
    Whole(&'a View),
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

    /// For sums over so many tiles of each of c heads.
    pub(super) fn summing([c, tiles]: [usize; 2], score_heads: usize) -> Self {
        Self {
            sizes: [1, 1, c, 1].map(|v| v as u32),
            tiles: tiles as u32,
            score_heads: score_heads as u32,
            ..Self::default()
        }
    }
}

/// Groups of a dispatch, about: enough to fill a large GPU. Each walks over all columns, so that more at once might
/// run for longer than a driver's watchdog allows.
const GROUPS: usize = 512;

impl AmclStream {
    /// Inputs that products are made of: z and the features.
    pub(super) fn operands(&self) -> usize {
        1 + usize::from(self.form.adaptive())
    }

    /// The score at the mean, if scores are made and centred.
    pub(super) fn centre(&self) -> Option<f64> {
        self.centre.filter(|_| self.form.adaptive())
    }

    /// Inputs that have gradients: z, the features, gain and mean.
    pub(super) fn differentiable(&self) -> usize {
        self.operands() + 2 * usize::from(self.centre().is_some())
    }

    /// Number of inputs: z, features, gain, mean, value, index.
    pub(super) fn inputs(&self) -> usize {
        self.differentiable() + 2 * usize::from(self.form.top_k)
    }

    /// What is wrong with the inputs.
    pub(super) fn check(&self, inputs: &[&TensorType]) -> std::result::Result<[usize; 3], String> {
        if inputs.len() != self.inputs() {
            return Err("needs z, features where a temperature adapts, gain and mean where scores are centred, value \
                and index where some candidates are selected".into());
        }
        let [c, a, d] = inputs[0].rank("z")?;
        check_layout(Layout::NtXent, a, a)?;
        self.share.check(a)?;
        if self.form.adaptive() {
            let [cf, fa, fd] = inputs[1].rank("features")?;
            if (cf != c && cf != 1) || (fa, fd) != (a, d) {
                return Err("features need z's shape, or one head's".into());
            }
        }
        let one_each = || inputs[2].dims() == [1] && inputs[3].dims() == &inputs[1].dims()[..1];
        if self.centre().is_some() && !one_each() {
            return Err("a gain is [1], and a mean one value a head of the features".into());
        }
        for t in &inputs[self.differentiable()..] {
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
        bound: &[Bound<'_>],
        chunks: usize,
    ) -> Result<()> {
        let (form, flag) = (&self.form, u32::from);
        let p = Params {
            include_positive: flag(form.include_positive),
            adaptive: [flag(form.adaptive_pos), flag(form.adaptive_neg)],
            reals: form.reals(dims[2]),
            warmup: flag(form.warmup),
            official_sum: flag(form.official_sum),
            score_heads: score_heads as u32,
            centre: self.centre().unwrap_or_default() as f32,
            ..Params::default()
        };
        let centred = self.centre().is_some();
        let kernel = form.flagged(kernel).flag("CENTRED", centred);
        let shared = form.adaptive() && score_heads != dims[0];
        let heads = Heads {
            dims,
            shared,
            share: self.share,
            chunks,
        };
        record_heads(rec, kernel, heads, bound, p)
    }

    /// Operations of one product of the share's anchors with all rows of d, for each of z and the features.
    pub(super) fn product_flops(&self, z: &TensorType) -> f64 {
        let d = z.dims();
        let operands = 1.0 + f64::from(u8::from(self.form.adaptive()));
        operands * 2.0 * (d[0] * self.share.of(d[1]) * d[1] * d[2]) as f64
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
        Ok(vec![TensorType::f32([c, self.share.of(a)]); 2])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let (inputs, norm) = (g.node(node).inputs.clone(), g.node(node).outputs[1]);
        // A share's gradient needs what other ranks' anchors have: it is that of `amcl_stream_of_ranks`.
        let whole = self.share == Share::WHOLE;
        let Some(dloss) = dy[0].filter(|_| whole) else {
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
        let (operands, rest) = io.inputs[..self.inputs()].split_at(self.operands());
        let (centre, selection) = rest.split_at(self.differentiable() - operands.len());
        let mut bound = vec![Bound::Z(z)];
        bound.extend(operands[1..].iter().map(Bound::Feature));
        bound.extend(centre.iter().map(Bound::Whole));
        bound.extend(io.outputs.iter().map(Bound::Own));
        bound.extend(selection.iter().map(Bound::Each));
        let heads = operands.get(1).map_or(1, |f| f.dims()[0]);
        let kernel = kernel!("amcl_stream", "main");
        self.record_heads(rec, kernel, z.dims(), heads, &bound, 1)
    }
    twin!();
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost {
            flops: self.product_flops(inputs[0]),
            bytes: inputs.iter().chain(outputs).map(|t| t.bytes() as f64).sum(),
        }
    }
}

/// What a kernel of pairs is recorded over.
#[derive(Clone, Copy)]
pub(super) struct Heads<'a> {
    /// Shape of z.
    pub dims: &'a [usize],
    /// All heads have the features of one.
    pub shared: bool,
    /// Which anchors.
    pub share: Share,
    /// Groups that a head and 64 of its anchors take.
    pub chunks: usize,
}

/// Records `kernel`, with `p`'s switches, over the heads: in one dispatch for each run of the share's anchors, or in
/// one a head where heads share the features or a tensor exceeds one binding.
pub(super) fn record_heads(
    rec: &mut Recorder<'_>,
    kernel: Kernel,
    of: Heads<'_>,
    bound: &[Bound<'_>],
    p: Params,
) -> Result<()> {
    let (c, a, d) = (of.dims[0], of.dims[1], of.dims[2]);
    let (own, chunks, shared) = (of.share.of(a), of.chunks, of.shared);
    let whole = !shared && c * a * d * 4 <= rec.limits().max_binding;
    let (blocks, heads) = if whole { (1, c) } else { (c, 1) };
    let kernel = kernel.define("COLS", "16u").flag("VEC4", d % 4 == 0);
    for block in 0..blocks {
        let mut offsets = [0; 3];
        let (mut own_offsets, mut off_packed) = ([0; 3], 0);
        let views: Vec<View> = bound
            .iter()
            .map(|bound| {
                let (view, each, slot) = match bound {
                    Bound::Whole(v) => return (*v).clone(),
                    Bound::Packed(v) => (v, a * 4, &mut off_packed),
                    Bound::Z(v) => (v, a * d, &mut offsets[0]),
                    Bound::Feature(v) => (v, a * d, &mut offsets[1]),
                    Bound::Each(v) => (v, a, &mut offsets[2]),
                    Bound::OwnZ(v) => (v, own * d, &mut own_offsets[0]),
                    Bound::OwnFeature(v) => (v, own * d, &mut own_offsets[1]),
                    Bound::Own(v) => (v, own, &mut own_offsets[2]),
                };
                let of_all = shared && matches!(bound, Bound::Feature(_) | Bound::OwnFeature(_));
                let (at, len) = match of_all {
                    true => (0, each),
                    false => (block, heads * each),
                };
                let (view, offset) = view.window(at * len..(at + 1) * len);
                *slot = offset;
                view
            })
            .collect();
        let bound: Vec<&View> = views.iter().collect();
        let step = (GROUPS / (heads * chunks)).max(1);
        let mut before = 0;
        for run in of.share.anchors(a) {
            let tiles = run.len().div_ceil(64);
            for first in (0..tiles).step_by(step) {
                let count = step.min(tiles - first);
                let p = Params {
                    sizes: [a, d, heads, chunks].map(|v| v as u32),
                    offsets,
                    accumulate: u32::from(shared && block > 0),
                    arrangement: Layout::NtXent as u32,
                    first: (run.start + 64 * first) as u32,
                    tiles: count as u32,
                    end: run.end as u32,
                    shift: (run.start - before) as u32,
                    own: own as u32,
                    own_offsets,
                    head0: (block * heads) as u32,
                    off_packed: off_packed / 4,
                    ..p
                };
                rec.dispatch(&kernel, &p, &bound, heads * count * chunks)?;
            }
            before += run.len();
        }
    }
    Ok(())
}

impl AmclStream {
    /// The operands of the twins.
    pub(super) fn rows<'a, T: Scalar>(&self, io: &HostIo<'a, T>) -> (Form<T>, Rows<'a, T>) {
        let (types, adaptive) = (io.input_types, self.form.adaptive());
        let heads = if adaptive { types[1].dims()[0] } else { 1 };
        let last = self.differentiable();
        let rows = Rows {
            z: io.input(0),
            features: adaptive.then(|| io.input(1)),
            d: types[0].dims()[2],
            centre: self.centre().map(|offset| Centre {
                gain: io.input(2)[0],
                mean: io.input(3),
                offset: T::of(offset),
            }),
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

    pub(super) fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (form, rows) = self.rows(io);
        let anchors = self.share.anchors(form.n);
        let [loss, norm] = io.outputs_n();
        amcl_stream::amcl_stream(&form, &rows, &anchors, loss, norm);
    }
}
