//! MoCo (He et al., CVPR 2020; head of v2), plain and with AMCL's Eq. (2.1): queries against keys of a momentum
//! encoder and a queue of earlier keys per head.
//!
//! Batch norm leaks which samples share batch statistics, and so which key belongs to which query (MoCo, section
//! 3.3). Against that: split batch norm (groups of the batch with statistics of their own) and, with `shuffle`, other
//! groups for keys than for queries.
//!
//! With `shuffle_ranks` groups are those of all ranks together, as MoCo's shuffling is across GPUs: a rank makes the
//! keys of other ranks' images, whose views it draws itself, and keys return to where their queries are. R ranks of s
//! groups then make the step of one rank of R s groups.

use super::loss::{Amcl, LossOutput, Plain, contrastive};
use super::recipe::{Chosen, holds};
use super::{
    Batch, Diagnostics, Draws, Embedder, Given, Groups, Method, Recipe, Spec, Temperatures, Views,
    pair_temperatures, phi_of, several, update_momentum_copy, with_scorer,
};
use crate::graph::state::Group;
use crate::graph::{GraphError, Result, TensorId, TensorType};
use crate::nn::heads::Mlp;
use crate::nn::{Backbone, Init, Net, Norm};
use crate::ops::all_gather_rows::AllGatherRows;
use crate::ops::enqueue::Enqueue;
use crate::ops::slice_tokens::SliceTokens;
use crate::ops::swap_axes::SwapAxes;
use crate::settings::between;
use std::sync::Arc;

/// Group and name of the queue's state.
pub const QUEUE: Group = Group::saved("queue");

/// Group of a step's own keys, which enter the queue behind it: all micro-batches and ranks meet the same queue.
const KEYS: Group = Group::transient("keys");

/// Groups of batch norm that stand for the eight GPUs of MoCo's recipe.
const GROUPS: usize = 8;

crate::section! {
    /// Settings of `[method]`.
    Settings {
        /// Decay of the momentum encoder.
        momentum: f32 = 0.99 => between(0.0, 1.0),
        /// Its value at the end, approached along a cosine; negative: constant.
        final_momentum: f32 = -1.0 => between(-1.0, 1.0),
        /// Keys in the queue of a head.
        queue: usize = 4096 => between(1.0, 16_777_216.0),
        /// Both views serve as queries; else only the first.
        symmetric: bool = true,
        /// Groups of the batch with batch statistics of their own. 8 stand for eight GPUs, and are what it takes
        /// where nothing is set, or as many as the batch can be cut into.
        bn_splits: usize = 1 => between(1.0, 524_288.0),
        /// Keys are grouped otherwise than queries.
        shuffle: bool = true,
        /// On several ranks, keys are grouped across all of them: a rank makes keys of other ranks' images, so that
        /// all groups are `bn_splits` times the ranks. It reads twice as many images. Not with micro-batches.
        shuffle_ranks: bool = false,
    }
}

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct Moco {
    /// Encoder.
    pub encoder: Arc<dyn Backbone>,
    /// Projection heads (one when plain), in the momentum branch too.
    pub projector: Mlp,
    /// The AMCL loss; `None`: InfoNCE at `temperature`.
    pub amcl: Option<Amcl>,
    /// Temperature of plain InfoNCE.
    pub temperature: Plain,
    /// Decay of the momentum encoder at the start and the end ([`Method::momentum`]).
    pub momentum: [f32; 2],
    /// K, keys in a head's queue.
    pub queue: usize,
    /// Both views serve as queries (lightly; MoCo's demo calls it symmetric), the mean of the two losses counts; else
    /// only the first.
    pub symmetric: bool,
    /// Groups of batch norm.
    pub splits: usize,
    /// Keys are grouped otherwise than queries.
    pub shuffle: bool,
    /// Groups of the keys across ranks, which then make each other's; none: a rank makes the keys of its own queries.
    pub regrouped: Option<Groups>,
    /// Micro-batches of each part of a step that a rank has.
    pub micro_batches: usize,
}

/// The method for configurations.
pub static SPEC: Spec = Spec {
    amcl: true,
    has_temperature: true,
    safeguards,
    check,
    ..Spec::new::<Settings>(
        "moco",
        "MoCo",
        "a view is like the key that a momentum encoder makes of the other, and unlike a queue of earlier keys",
        build,
    )
};

fn build(r: &Recipe, encoder: Arc<dyn Backbone>) -> std::result::Result<Box<dyn Method>, String> {
    let s: Settings = r.own()?;
    let ranks = r.batch.ranks;
    let all = ranks * s.bn_splits;
    Ok(Box::new(Moco {
        encoder,
        projector: r.projector(false),
        amcl: r.amcl(),
        temperature: r.temperature(),
        momentum: [s.momentum, s.final_momentum],
        queue: s.queue,
        symmetric: s.symmetric,
        splits: s.bn_splits,
        shuffle: s.shuffle,
        regrouped: (s.shuffle_ranks && ranks > 1).then_some(Groups { all, ranks }),
        micro_batches: r.batch.micro,
    }))
}

/// `method.bn_splits` is 8, or the most groups of at least two images that the (micro-)batch can be cut into: with
/// one group, batch norm tells queries from their keys. With `model.sync_bn`, which has one group, nothing is set.
fn safeguards(r: &mut Recipe, given: Given<'_>) {
    if !given("method", "bn_splits") && !r.batch.one_norm {
        let batch = r.batch.part();
        let fits = |n: &usize| batch.is_multiple_of(*n) && batch / n >= 2;
        // Where no number fits, the check says so.
        let groups = (2..=GROUPS).rev().find(fits).unwrap_or(GROUPS);
        r.settings
            .insert("bn_splits".into(), (groups as i64).into());
    }
}

fn check(r: &Recipe, _: &Chosen<'_>) -> std::result::Result<(), String> {
    let (s, batch): (Settings, usize) = (r.own()?, r.batch.part());
    // A row of similarities is the positive and the queue.
    let (h, keys) = (&r.heads, s.queue + 1);
    holds(
        "method.queue x heads.count x heads.out",
        &[keys, h.count, h.out],
    )?;
    holds(
        "method.queue x heads.count x optim.batch_size",
        &[keys, h.count, 2 * batch],
    )?;
    if s.queue < batch {
        return Err(format!(
            "method.queue {} is smaller than a (micro-)batch of {batch}",
            s.queue
        ));
    }
    if r.batch.one_norm && s.bn_splits > 1 {
        return Err(format!(
            "method.bn_splits = {} cuts a rank's images into groups of batch norm, and model.sync_bn joins those of all \
             ranks: set model.sync_bn = false, or method.bn_splits = 1 (which leaves the leak of batch norm open)",
            s.bn_splits
        ));
    }
    if s.shuffle_ranks && !s.shuffle {
        return Err("method.shuffle_ranks groups keys across ranks, and method.shuffle = false groups them as their \
            queries: set one of them"
            .into());
    }
    if s.shuffle_ranks && r.batch.one_norm {
        return Err("method.shuffle_ranks groups keys across ranks, and model.sync_bn has one group of all images: set \
            model.sync_bn = false, or leave method.shuffle_ranks out"
            .into());
    }
    if s.shuffle_ranks && r.batch.parts != r.batch.ranks {
        return Err("method.shuffle_ranks groups the keys of a whole batch, of which a rank with micro-batches holds one \
            at a time: set optim.micro_batches = 1 and no dist.shares, or leave method.shuffle_ranks out"
            .into());
    }
    if !batch.is_multiple_of(s.bn_splits) || batch / s.bn_splits < 2 {
        return Err(format!(
            "a (micro-)batch of {batch} cannot be cut into method.bn_splits = {} groups of at least 2: set \
             it, or optim.batch_size (1 group leaves the leak of batch norm open)",
            s.bn_splits
        ));
    }
    Ok(())
}

impl Moco {
    /// The keys of this rank's queries, and those that enter the queue, of the keys [c,b,d'] that it has made. Where
    /// ranks make each other's, they come from all of them: the groups of one rank stand behind those of another, and
    /// within all groups together the images of each.
    fn returned(&self, net: &mut Net<'_>, made: TensorId) -> Result<[TensorId; 2]> {
        let world = net.world().clone();
        let (Some(groups), false, &[c, b, d]) = (self.regrouped, world.is_alone(), net.dims(made))
        else {
            return Ok([made; 2]);
        };
        let (rank, ranks) = (world.rank(), world.ranks());
        let swap = |axes| SwapAxes {
            axes,
            out: [c, ranks * b, d].into(),
        };
        let all = net.push1(AllGatherRows { world }, &[made])?;
        let by_group = net.push1(swap([1, ranks, c, b * d]), &[all])?;
        let each = ranks * b / groups.all;
        let by_image = net.push1(swap([c, groups.all, each, d]), &[by_group])?;
        let own = SliceTokens {
            first: rank * b,
            count: b,
        };
        Ok([net.push1(own, &[by_image])?, by_image])
    }

    /// The keys of a step enter the queue: together, or where it does not hold them all, in as many parts as came.
    fn enqueue(&self, net: &mut Net<'_>, keys: TensorId, queue: TensorId) -> Result<()> {
        let (n, held) = (net.dims(keys)[1], net.dims(queue)[1]);
        let parts: usize = net.world().shares().iter().sum();
        let came = self.micro_batches * parts * if self.symmetric { 2 } else { 1 };
        let parts = if n > held { came } else { 1 };
        for index in 0..parts {
            let count = n / parts;
            let part = match parts {
                1 => keys,
                _ => {
                    let first = index * count;
                    net.push1(SliceTokens { first, count }, &[keys])?
                }
            };
            let op = Enqueue {
                micro_batches: 1,
                each: parts,
                index,
            };
            net.push_updating(op, &[part], &[queue])?;
        }
        Ok(())
    }
}

impl Method for Moco {
    fn encoder(&self) -> &dyn Backbone {
        self.encoder.as_ref()
    }

    fn draws(&self) -> Draws {
        Draws {
            regrouped: self.regrouped,
            ..Draws::views(Views::Two)
        }
    }

    fn build(&self, net: &mut Net<'_>, batch: &Batch) -> Result<LossOutput> {
        let embedder = Embedder::new(net, self.encoder(), &self.projector);
        // Every parameter is declared before the momentum copy is made of them all.
        if let Some(a) = self.amcl.filter(|a| a.roles() != (false, false)) {
            phi_of(net, &a, self.projector.out);
        }
        net.model.make_momentum_copy();
        let of_queries = Norm {
            groups: self.splits,
            ..Norm::default()
        };
        // What other ranks' images are grouped by stands one group behind the other already.
        let of_keys = Norm {
            interleaved: self.shuffle && self.regrouped.is_none(),
            track: false,
            ..of_queries
        };
        let queue = TensorType::f32([self.projector.heads, self.queue, self.projector.out]);
        // Directions of normal vectors are uniform; the loss takes them at unit length.
        let queue = net.model.state(QUEUE, "queue", queue, Init::Normal(1.0));
        let queue = net.state(queue);
        let (mut parts, mut keys, mut features) = (Vec::new(), Vec::new(), Vec::new());
        let mut queries = Vec::new();
        let pairs: &[(usize, usize)] = if self.symmetric {
            &[(0, 1), (1, 0)]
        } else {
            &[(0, 1)]
        };
        let views = match self.regrouped {
            Some(_) => &batch.regrouped,
            None => &batch.views,
        };
        for (query, key) in pairs {
            let [f, q] =
                net.with_norm(of_queries, |net| embedder.call(net, batch.views[*query]))?;
            let [_, z] =
                net.momentum(|net| net.with_norm(of_keys, |net| embedder.call(net, views[*key])))?;
            let k = net.l2_normalize(z)?;
            // Keys are constants, whatever is asked for a gradient.
            let k = net.stop_gradient(k)?;
            let [k, entering] = self.returned(net, k)?;
            features.push(f);
            keys.push(entering);
            queries.push(q);
            parts.push(match &self.amcl {
                None => contrastive::moco(net, q, k, queue, &self.temperature)?,
                Some(a) => with_scorer(net, a, self.projector.out, |g, s| {
                    contrastive::amcl_moco(g, q, k, queue, a, s)
                })?,
            });
        }
        if features.len() == 1 {
            features.clear();
        }
        let mut out = parts.remove(0);
        if let Some(other) = parts.pop() {
            let sum = net.add(out.loss, other.loss)?;
            out.loss = net.scale(sum, 0.5)?;
        }
        Ok(LossOutput {
            features,
            keys,
            heads: several(net, queries[0]),
            ..out
        })
    }

    fn momentum(&self) -> Option<[f32; 2]> {
        Some(self.momentum)
    }

    /// Keys are kept as they come, micro-batch after micro-batch.
    fn after_gradient(&self, net: &mut Net<'_>, out: &LossOutput) -> Result<()> {
        let Some(first) = out.keys.first() else {
            return Ok(());
        };
        let (&[c, b, d], each) = (net.dims(*first), out.keys.len()) else {
            return Err(GraphError::Invalid("keys are [c,b,d']".into()));
        };
        let world = net.world();
        let micro_batches = self.micro_batches * world.shares()[world.rank()];
        let ty = TensorType::f32([c, micro_batches * each * b, d]);
        let kept = net.model.states.add(KEYS, "keys", ty);
        let kept = net.state(kept);
        for (index, k) in out.keys.iter().enumerate() {
            let op = Enqueue {
                micro_batches,
                each,
                index,
            };
            net.push_updating(op, &[*k], &[kept])?;
        }
        Ok(())
    }

    /// The queue is read by loss and gradient before the new keys enter: those of rank 0 first.
    fn after_step(&self, net: &mut Net<'_>) -> Result<()> {
        let states = &net.model.states;
        let ids = [states.find(KEYS, "keys"), states.find(QUEUE, "queue")];
        if let [Some(kept), Some(queue)] = ids {
            let (mut keys, queue, world) = (net.state(kept), net.state(queue), net.world().clone());
            // Where ranks make each other's, every rank has them all.
            let has_all = world.is_alone() || self.regrouped.is_some();
            if let (&[c, n, d], false) = (net.dims(keys), has_all) {
                // Ranks with other shares of a batch have another number of keys: those of all heads go together.
                let op = SwapAxes {
                    axes: [1, c, n, d],
                    out: [n, c, d].into(),
                };
                keys = net.push1(op, &[keys])?;
                keys = net.push1(AllGatherRows { world }, &[keys])?;
                let all = net.dims(keys)[0];
                let op = SwapAxes {
                    axes: [1, all, c, d],
                    out: [c, all, d].into(),
                };
                keys = net.push1(op, &[keys])?;
            }
            self.enqueue(net, keys, queue)?;
        }
        update_momentum_copy(net)
    }

    fn diagnostics(&self) -> Option<&dyn Diagnostics> {
        Some(self)
    }
}

impl Diagnostics for Moco {
    fn projector(&self) -> &Mlp {
        &self.projector
    }

    fn temperatures(&self) -> std::result::Result<(Amcl, Temperatures), &'static str> {
        pair_temperatures(self.amcl.as_ref(), Temperatures::AllPairs)
    }
}
