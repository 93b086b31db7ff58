//! `barlow_stream`: redundancy reduction from standardised columns, without matrices of all pairs of channels. Twin:
//! `reference/barlow_stream.rs`.

use super::barlow_loss::BarlowLoss;
use super::barlow_stream_grad::BarlowStreamGrad;
use crate::device::recording::{Kernel, Recorder, View};
use crate::graph::{
    Bindings, Class, Cost, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType,
};
use crate::reference::Scalar;
use crate::reference::barlow_stream::{self, Channels};
use crate::{kernel, twin};

/// Inputs: a, b [c,n,d] of standardised columns, one a view; phi's features p, q [c or 1,d,f] of their channels if
/// any temperature adapts. Output: loss [c,d]. What `barlow_loss` gives for the products of these, in memory that
/// grows with d and not with its square.
#[derive(Clone, Copy, Debug)]
pub struct BarlowStream {
    /// The terms.
    pub loss: BarlowLoss,
}

/// Mirrors `shaders/lib/channel_tile.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    sizes: [u32; 4],
    chunks: u32,
    accumulate: u32,
    by_column: u32,
    first: u32,
    tiles: u32,
    offsets: [u32; 3],
    adaptive: [u32; 2],
    constant: [f32; 2],
    reals: [f32; 6],
    r: [u32; 2],
}

/// Groups of a dispatch, about; see `amcl_stream`.
const GROUPS: usize = 512;

/// A binding of one dispatch, and what of it belongs to a head.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut<'a> {
    /// [c,n,d].
    View(&'a View),
    /// [c or 1,d,f].
    Features(&'a View),
    /// [c,d].
    Row(&'a View),
}

/// c, n, d, f (0 without features) and the features' heads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    c: usize,
    pub(super) n: usize,
    d: usize,
    pub(super) f: usize,
    heads: usize,
}

impl Sizes {
    /// Of the dimensions of a view and, if there are any, of features.
    pub(super) fn of(view: &[usize], features: Option<&[usize]>) -> Self {
        Self {
            c: view[0],
            n: view[1],
            d: view[2],
            f: features.map_or(0, |p| p[2]),
            heads: features.map_or(view[0], |p| p[0]),
        }
    }
}

impl BarlowStream {
    /// Number of tensors that the pairs are made of.
    pub(super) fn operands(&self) -> usize {
        if self.loss.adaptive() { 4 } else { 2 }
    }

    /// What is wrong with the views and the features.
    pub(super) fn check(&self, inputs: &[&TensorType]) -> std::result::Result<[usize; 2], String> {
        if inputs.len() != self.operands() {
            return Err(
                "needs two views, and the features of both where a temperature adapts".into(),
            );
        }
        let [c, _, d] = inputs[0].rank("a")?;
        if inputs[1] != inputs[0] {
            return Err("the views differ in shape".into());
        }
        if let [_, _, p, q] = inputs {
            let [cf, df, _] = p.rank("features")?;
            if p != q || (cf != c && cf != 1) || df != d {
                return Err("features need a row a channel, of every head or of one".into());
            }
        }
        Ok([c, d])
    }

    /// Records `kernel` over all heads: in one dispatch, or one a head where heads share the features or a tensor
    /// exceeds one binding. A head and 64 of its channels take `chunks` groups.
    pub(super) fn record_heads(
        &self,
        rec: &mut Recorder<'_>,
        kernel: &Kernel,
        s: Sizes,
        cuts: &[Cut<'_>],
        chunks: usize,
        by_column: bool,
    ) -> Result<()> {
        let Sizes { c, n, d, f, .. } = s;
        let loss = &self.loss;
        let shared = s.heads != c;
        let whole = !shared && c * d * n.max(f) * 4 <= rec.limits().max_binding;
        let (blocks, heads) = if whole { (1, c) } else { (c, 1) };
        let kernel = kernel
            .clone()
            .define("COLS", "16u")
            .flag("ADAPTIVE", loss.adaptive())
            .flag("VEC4", d % 4 == 0)
            .flag("VEC4_F", f % 4 == 0);
        for block in 0..blocks {
            let mut offsets = [0; 3];
            let views: Vec<View> = cuts
                .iter()
                .map(|cut| {
                    let (view, at, len, slot) = match cut {
                        Cut::View(v) => (v, block, heads * n * d, 0),
                        Cut::Features(v) if shared => (v, 0, d * f, 1),
                        Cut::Features(v) => (v, block, heads * d * f, 1),
                        Cut::Row(v) => (v, block, heads * d, 2),
                    };
                    let (view, off) = view.window(at * len..(at + 1) * len);
                    offsets[slot] = off;
                    view
                })
                .collect();
            let bound: Vec<&View> = views.iter().collect();
            let tiles = d.div_ceil(64);
            let step = (GROUPS / (heads * chunks)).max(1);
            for first in (0..tiles).step_by(step) {
                let count = step.min(tiles - first);
                let half_d = d as f64 / 2.0;
                let inv_n = 1.0 / n as f64;
                let p = Params {
                    sizes: [d, n, f, heads].map(|v| v as u32),
                    chunks: chunks as u32,
                    accumulate: u32::from(shared && block > 0),
                    by_column: by_column.into(),
                    first: first as u32,
                    tiles: count as u32,
                    offsets,
                    adaptive: [loss.adaptive_on.into(), loss.adaptive_off.into()],
                    constant: loss.constant.map(|v| v as f32),
                    reals: [loss.lambda, loss.beta, loss.eta, loss.iota, half_d, inv_n]
                        .map(|v| v as f32),
                    r: [0; 2],
                };
                rec.dispatch(&kernel, &p, &bound, heads * count * chunks)?;
            }
        }
        Ok(())
    }

    /// Operations of one product of all pairs, for the views and for the features.
    pub(super) fn product_flops(inputs: &[&TensorType]) -> f64 {
        let view = inputs[0].dims();
        // (In the plain gradient dloss [c,d] stands where features would.)
        let f = inputs.get(2).and_then(|p| p.dims().get(2)).unwrap_or(&0);
        2.0 * (view[0] * view[2] * view[2] * (view[1] + f)) as f64
    }
}

impl Op for BarlowStream {
    fn name(&self) -> &'static str {
        "barlow_stream"
    }
    fn class(&self) -> Class {
        Class::FusedProduct
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        Ok(vec![TensorType::f32(self.check(inputs)?)])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let inputs = g.node(node).inputs.clone();
        let Some(dloss) = dy[0] else {
            return Ok(vec![None; inputs.len()]);
        };
        let mut grads = vec![None; inputs.len()];
        for by_column in [false, true] {
            // Of every pair, the view whose gradient it is stands first.
            let mut all = Vec::new();
            for pair in inputs.chunks(2) {
                all.extend([pair[usize::from(by_column)], pair[usize::from(!by_column)]]);
            }
            all.push(dloss);
            let op = BarlowStreamGrad {
                forward: *self,
                by_column,
            };
            for (k, d) in g.push(op, &all)?.into_iter().enumerate() {
                grads[2 * k + usize::from(by_column)] = Some(d);
            }
        }
        Ok(grads)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (views, features) = io.inputs.split_at(2);
        let mut cuts: Vec<Cut<'_>> = views.iter().map(Cut::View).collect();
        cuts.extend(features.iter().map(Cut::Features));
        cuts.push(Cut::Row(&io.outputs[0]));
        let sizes = Sizes::of(views[0].dims(), features.first().map(View::dims));
        let k = kernel!("barlow_stream", "main");
        self.record_heads(rec, &k, sizes, &cuts, 1, false)
    }
    twin!();
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost {
            flops: Self::product_flops(inputs),
            bytes: inputs.iter().chain(outputs).map(|t| t.bytes() as f64).sum(),
        }
    }
}

impl BarlowStream {
    /// The operands of the twins.
    pub(super) fn channels<'a, T: Scalar>(&self, io: &HostIo<'a, T>) -> Channels<'a, T> {
        let types = io.input_types;
        let adaptive = self.loss.adaptive();
        let features = adaptive.then(|| types[2].dims());
        let s = Sizes::of(types[0].dims(), features);
        Channels {
            views: [io.input(0), io.input(1)],
            features: adaptive.then(|| [io.input(2), io.input(3)]),
            sizes: [s.n, s.d, s.f],
            score_heads: s.heads,
        }
    }

    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let channels = self.channels(io);
        let form = self.loss.form(channels.sizes[1]);
        barlow_stream::barlow_stream(&form, &channels, io.output(0));
    }
}
