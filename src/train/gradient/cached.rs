//! The graphs of gradient caching (see the module above).

use super::{backward, each_step, fetched, head_rows, scaled};
use crate::comm::World;
use crate::graph::state::Group;
use crate::graph::{Graph, StateId, TensorId, TensorType};
use crate::methods::loss::LossOutput;
use crate::methods::{Own, SplitLoss, of_all_parts, several};
use crate::nn::{Mode, Model, Net, Precision};
use crate::ops::add::Add;
use crate::ops::enqueue::Enqueue;
use crate::ops::micro_part::MicroPart;
use crate::ops::mul::Mul;
use crate::ops::reshape::Reshape;
use crate::ops::sum_all::SumAll;
use crate::train::pass::{Draft, Pass};
use crate::train::{Result, optimizer};

/// Group of the kept embeddings and their gradients.
const CACHE: Group = Group::transient("cache");

/// Places of a batch's embeddings and of their gradients, one after the other as the micro-batches come.
struct Kept {
    z: StateId,
    /// None where the loss takes no gradient of them.
    dz: Option<StateId>,
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

/// The programs of gradient caching, but for the last pass, which the caller has: embed, and loss.
pub(super) struct Programs {
    pub(super) embed: Pass,
    pub(super) loss: Draft,
    pub(super) out: LossOutput,
    pub(super) features: Vec<TensorId>,
    pub(super) own: Option<Own>,
}

/// Makes the graphs, from two passes with their views: the one that embeds, and `last`, that of the gradient. This rank
/// has so many parts of the batch. Their gradients are added up over `divisor`, as those of ranks are, so that what
/// comes once for the whole batch is multiplied by it: ranks then round as micro-batches do.
pub(super) fn programs(
    split: &dyn SplitLoss,
    (model, world): (&mut Model, &World),
    precision: Precision,
    (parts, divisor): (usize, f64),
    mut embed: Pass,
    last: &mut Pass,
) -> Result<Programs> {
    let batch = embed.batch.clone();
    // Running statistics follow the pass that gives the gradient, once a step.
    let z = Net::new(&mut embed.draft.graph, model, Mode::Train)
        .in_precision(precision)
        .in_world(world.clone(), true)
        .untracked(|net| split.embed(net, &batch))?
        .z;
    let mut kept = Vec::new();
    for (i, t) in z.iter().enumerate() {
        let &[c, n, d] = embed.draft.graph.dims(*t) else {
            unreachable!("embeddings are [c,n,d']");
        };
        let ty = TensorType::f32([1, parts * c * n, d]);
        kept.push(Kept {
            z: model.states.add(CACHE, &format!("z{i}"), ty),
            dz: None,
            micro: [c, n, d],
        });
    }
    for (t, k) in z.iter().zip(&kept) {
        Kept::put(&mut embed.draft.graph, model, parts, *t, k.z)?;
    }

    let mut g = Graph::new();
    let mut net = Net::new(&mut g, model, Mode::Train)
        .in_precision(precision)
        .in_world(world.clone(), true);
    let (mut all, mut sources) = (Vec::new(), Vec::new());
    for k in &kept {
        let source = net.state(k.z);
        let of = (split, source);
        all.push(of_all_parts(&mut net, of, (parts, k.micro), &batch)?);
        sources.push(source);
    }
    let mut out = split.loss(&mut net, &all)?;
    out.heads = several(&net, all[0]);
    // The scale goes with the kept gradient into the last pass.
    let loss = scaled(&mut net, out.loss, optimizer::WHOLE)?;
    let also = [&sources[..], &out.heads].concat();
    let [mut grads, mut dz] = backward(net.graph, net.model, loss, &also)?;
    let of_heads = dz.split_off(sources.len());
    head_rows(net.graph, &mut out, of_heads)?;
    if divisor != 1.0 {
        for d in grads.iter_mut().chain(&mut dz).flatten() {
            *d = net.graph.scale(*d, divisor)?;
        }
    }
    for (i, (k, dz)) in kept.iter_mut().zip(dz).enumerate() {
        if let Some(dz) = dz {
            let ty = net.model.states.entry(k.z).ty.clone();
            let place = net.model.states.add(CACHE, &format!("dz{i}"), ty);
            Kept::put(net.graph, net.model, parts, dz, place)?;
            k.dz = Some(place);
        }
    }
    let loss = Draft {
        graph: g,
        fetch: fetched(&out),
        grads,
    };

    let mut net = Net::new(&mut last.draft.graph, model, Mode::Train)
        .in_precision(precision)
        .in_world(world.clone(), true);
    let e = split.embed(&mut net, &last.batch)?;
    // The gradient of sum(z dz), dz constant, is what the chain rule asks for.
    let mut sum: Option<TensorId> = None;
    for (t, k) in e.z.iter().zip(&kept) {
        let Some(place) = k.dz else { continue };
        let source = net.state(place);
        let shape = k.micro.into();
        let dz = net.push1(MicroPart { parts, out: shape }, &[source])?;
        let product = net.push1(Mul, &[*t, dz])?;
        let term = net.push1(SumAll, &[product])?;
        sum = Some(match sum {
            Some(s) => net.push1(Add, &[s, term])?,
            None => term,
        });
    }
    if let Some(own) = &e.own {
        let term = scaled(&mut net, own.loss, optimizer::OWN)?;
        sum = Some(match sum {
            Some(s) => net.add(s, term)?,
            None => term,
        });
    }
    if let Some(sum) = sum {
        let grads = backward(net.graph, net.model, sum, &[])?[0].clone();
        last.draft.grads = grads;
    }
    last.draft.fetch = e.features.clone();
    last.draft
        .fetch
        .extend(e.own.iter().flat_map(|own| each_step(own.loss, &own.terms)));
    Ok(Programs {
        embed,
        loss,
        out,
        features: e.features,
        own: e.own,
    })
}
