//! The graphs of gradient caching (see the module above).

use super::{Draft, Pass, backward, fetched, scaled};
use crate::graph::{Graph, StateId, TensorId, TensorType};
use crate::methods::Halves;
use crate::methods::loss::Built;
use crate::nn::{Model, Norm};
use crate::ops::add::Add;
use crate::ops::enqueue::Enqueue;
use crate::ops::micro_part::MicroPart;
use crate::ops::mul::Mul;
use crate::ops::reshape::Reshape;
use crate::ops::sum_all::SumAll;
use crate::ops::swap_axes::SwapAxes;
use crate::train::Result;

/// Group of the kept embeddings and their gradients.
const CACHE: &str = "cache";

/// Places of a batch's embeddings and of their gradients, one after the other as the micro-batches come.
struct Kept {
    z: StateId,
    dz: StateId,
    /// Shape of a micro-batch's: heads, rows, d'.
    micro: [usize; 3],
}

impl Kept {
    /// Copies x into a state: a micro-batch's share, or all at once.
    fn put(g: &mut Graph, model: &Model, parts: usize, x: TensorId, to: StateId) -> Result<()> {
        let place = g.state(&model.states, to);
        let d = g.dims(place)[2];
        let shape = [1, g.ty(x).elements() / d, d].into();
        let rows = g.push1(Reshape { shape }, &[x])?;
        let op = Enqueue {
            micro_batches: parts,
            each: 1,
            index: 0,
        };
        g.push_updating(op, &[rows], &[place])?;
        Ok(())
    }
}

/// The three programs of gradient caching: embed, loss, and a pass for the gradient whose views are given.
pub(super) struct Three {
    pub(super) embed: Pass,
    pub(super) loss: Draft,
    pub(super) built: Built,
    pub(super) features: Vec<TensorId>,
}

/// Makes the graphs. Passes come with their views: the one that embeds, and the one of the gradient.
pub(super) fn three(
    h: &dyn Halves,
    model: &mut Model,
    parts: usize,
    (mut embed, views): (Pass, Vec<TensorId>),
    (again, views_again): (&mut Pass, &[TensorId]),
) -> Result<Three> {
    // Running statistics follow the pass that gives the gradient, once a step.
    let norm = model.norm;
    model.norm = Norm {
        track: false,
        ..norm
    };
    let z = h.embed(&mut embed.draft.graph, model, &views)?.z;
    model.norm = norm;
    let mut kept = Vec::new();
    for (i, t) in z.iter().enumerate() {
        let &[c, n, d] = embed.draft.graph.dims(*t) else {
            unreachable!("embeddings are [c,n,d']");
        };
        let ty = TensorType::f32([1, parts * c * n, d]);
        let mut place = |name: &str| model.states.add(CACHE, &format!("{name}{i}"), ty.clone());
        kept.push(Kept {
            z: place("z"),
            dz: place("dz"),
            micro: [c, n, d],
        });
    }
    model.states.transient(CACHE);
    for (t, k) in z.iter().zip(&kept) {
        Kept::put(&mut embed.draft.graph, model, parts, *t, k.z)?;
    }

    let mut g = Graph::new();
    // Rows of a tensor of views stand view by view, so that those of the whole batch are in the order in which the loss expects them.
    let inside = 2 / views.len();
    let (mut all, mut sources) = (Vec::new(), Vec::new());
    for k in &kept {
        let [c, n, d] = k.micro;
        let source = g.state(&model.states, k.z);
        let op = SwapAxes {
            axes: [1, parts, c * inside, n / inside * d],
            out: [c, parts * n, d].into(),
        };
        all.push(g.push1(op, &[source])?);
        sources.push(source);
    }
    let built = h.loss_of(&mut g, model, &all)?;
    // The scale goes with the kept gradient into the last pass.
    let loss = scaled(&mut g, model, built.loss)?;
    let [grads, dz] = backward(&mut g, model, loss, &sources)?;
    for (k, dz) in kept.iter().zip(dz) {
        if let Some(dz) = dz {
            Kept::put(&mut g, model, parts, dz, k.dz)?;
        }
    }
    let loss = Draft {
        graph: g,
        fetch: fetched(&built),
        grads,
    };

    let g = &mut again.draft.graph;
    let e = h.embed(g, model, views_again)?;
    // The gradient of sum(z dz), dz constant, is what the chain rule asks for.
    let mut sum: Option<TensorId> = None;
    for (t, k) in e.z.iter().zip(&kept) {
        let source = g.state(&model.states, k.dz);
        let out = k.micro.into();
        let dz = g.push1(MicroPart { parts, out }, &[source])?;
        let product = g.push1(Mul, &[*t, dz])?;
        let term = g.push1(SumAll, &[product])?;
        sum = Some(match sum {
            Some(s) => g.push1(Add, &[s, term])?,
            None => term,
        });
    }
    if let Some(sum) = sum {
        again.draft.grads = backward(g, model, sum, &[])?[0].clone();
    }
    again.draft.fetch = e.features.clone();
    Ok(Three {
        embed,
        loss,
        built,
        features: e.features,
    })
}
