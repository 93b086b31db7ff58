//! The gradient of a batch's loss as programs on an executor: one for each micro-batch, or with gradient caching (Gao
//! et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021) three:
//!
//! 1. *embed*, a micro-batch at a time: views -> embeddings, kept in a state;
//! 2. *loss*, once: all embeddings -> the loss of the whole batch, its gradient to the embeddings (kept) and to the
//!    temperature MLP;
//! 3. *views*, a micro-batch at a time: the same views -> embeddings again, and from the kept gradient that of
//!    encoder and heads.
//!
//! The activations of one micro-batch are alive at a time, and the gradient is that of the whole batch, but for batch
//! norm, whose statistics are of micro-batches.
//!
//! Ranks are micro-batches that lie elsewhere. Each differentiates a loss of its own (where the loss couples the batch,
//! that of all ranks' embeddings), and the objective is the ranks' mean: the optimiser's side takes the mean of their
//! gradients.

mod cached;

use super::optimizer::{self, Delivery, Exchange};
use super::pass::{Draft, Pass};
use super::{Config, Result};
use crate::comm::World;
use crate::config::method::{cached, coupled};
use crate::data::packed::Images;
use crate::device::replay::Timed;
use crate::eval::cka;
use crate::graph::exec::{NonFinite, Ticket};
use crate::graph::{Executor, Graph, ProgramId, StateId, StepScalars, TensorId};
use crate::methods::Method;
use crate::methods::loss::{LossOutput, Term};
use crate::nn::{Mode, Model, Net, Precision};
use crate::ops;
use crate::ops::accumulate::Accumulate;
use crate::ops::mul::Mul;
use crate::ops::reshape::Reshape;
use crate::ops::slice_tokens::SliceTokens;

/// The first two programs of gradient caching.
#[derive(Debug)]
struct Cache {
    embed: Pass,
    draft: Draft,
    loss: ProgramId,
}

/// The programs. [`Gradient::new`] makes graphs and declares states, [`Gradient::compile`] compiles them.
#[derive(Debug)]
pub struct Gradient {
    /// Loss and pairs: tensors of the program that makes the loss.
    pub out: LossOutput,
    /// Rows and columns of a head's similarities.
    pub head: [usize; 2],
    /// Rows and columns of a head's embeddings.
    pub embedding: [usize; 2],
    /// Heads, rows and columns of what is kept of several heads' outputs ([`LossOutput::heads`]).
    pub heads: [usize; 3],
    /// Training images lie on the device.
    pub resident: bool,
    /// Operations of a batch's matrix products and convolutions, forward and backward; what caching does twice counts
    /// once.
    pub flops: f64,
    /// The same with what caching does twice.
    pub work: f64,
    /// Names of the loss's terms.
    pub terms: Vec<&'static str>,
    /// Micro-batches that this rank has.
    parts: usize,
    /// What the losses of micro-batches are divided by ([`Config::divisor`]).
    divisor: f64,
    /// How gradients come to the optimiser: on all ranks alike.
    delivery: Delivery,
    views: Pass,
    cache: Option<Cache>,
    features: Vec<TensorId>,
    /// Loss and terms of each micro-batch by itself, where the loss of the whole batch is not all.
    own: Vec<TensorId>,
}

/// What is under way of a started batch: tickets of every run of the program that makes the loss, and of the one that
/// makes what micro-batches have by themselves; each with what the numbers of a run are divided by.
#[derive(Debug)]
pub struct Started([(Vec<Ticket>, f64); 2]);

impl Started {
    /// Waits for the loss and then its terms, as [`Gradient::terms`] names them.
    ///
    /// # Errors
    /// Device loss.
    pub fn collect(&self, exec: &mut dyn Executor) -> Result<(f64, Vec<f64>)> {
        let (mut loss, mut terms) = (0.0, Vec::new());
        for (runs, divisor) in &self.0 {
            let mut mean: Vec<f64> = Vec::new();
            for t in runs {
                let values = exec.collect(t, true)?.unwrap_or_default();
                mean.resize(values.len(), 0.0);
                for (m, v) in mean.iter_mut().zip(values) {
                    *m += v.to_f64()[0] / divisor;
                }
            }
            loss += mean.first().copied().unwrap_or(0.0);
            terms.extend(mean.into_iter().skip(1));
        }
        Ok((loss, terms))
    }
}

/// The loss to differentiate: with mixed precision, times the loss scale. `kept`: under which name it is kept then.
fn scaled(net: &mut Net<'_>, loss: TensorId, kept: &str) -> Result<TensorId> {
    if net.precision() == Precision::F32 {
        return Ok(loss);
    }
    let (g, model) = (&mut *net.graph, &mut *net.model);
    let id = optimizer::scale(model);
    let scale = g.state(&model.states, id);
    let shape = g.ty(scale).shape.clone();
    let loss = g.push1(Reshape { shape }, &[loss])?;
    // Kept for the optimiser's side, which has to know an overflow of the loss from one of its gradient.
    let kept = optimizer::kept_loss(model, kept);
    let kept = g.state(&model.states, kept);
    g.push_updating(Accumulate, &[loss], &[kept])?;
    Ok(g.push1(Mul, &[loss, scale])?)
}

/// Appends the gradient of `loss`, and returns that of each parameter and of the tensors `also`.
fn backward(
    g: &mut Graph,
    model: &Model,
    loss: TensorId,
    also: &[TensorId],
) -> Result<[Vec<Option<TensorId>>; 2]> {
    let mut wrt: Vec<TensorId> = model
        .params
        .iter()
        .map(|p| g.state(&model.states, p.id))
        .collect();
    let params = wrt.len();
    wrt.extend(also);
    let mut grads = ops::backward(g, loss, &wrt)?;
    let also = grads.split_off(params);
    Ok([grads, also])
}

/// What is fetched at every step: a loss and its terms.
fn each_step(loss: TensorId, terms: &[Term]) -> Vec<TensorId> {
    let terms = terms.iter().map(|t| t.1);
    std::iter::once(loss).chain(terms).collect()
}

/// What is fetched of a loss.
fn fetched(out: &LossOutput) -> Vec<TensorId> {
    let mut fetch = each_step(out.loss, &out.terms);
    if let Some(pairs) = out.pairs {
        fetch.push(pairs.similarity);
        fetch.extend(pairs.score);
    }
    fetch.extend(out.embedding);
    fetch.extend(&out.heads);
    fetch
}

/// The first rows of several heads' outputs and of their gradient, in place of the outputs: what their likeness is told
/// by.
fn head_rows(
    g: &mut Graph,
    out: &mut LossOutput,
    gradients: impl IntoIterator<Item = Option<TensorId>>,
) -> Result<()> {
    let outputs = std::mem::take(&mut out.heads);
    let mut rows = Vec::new();
    for t in outputs.into_iter().chain(gradients.into_iter().flatten()) {
        if let &[_, n, _] = g.dims(t) {
            let count = n.min(cka::IMAGES);
            rows.push(g.push1(SliceTokens { first: 0, count }, &[t])?);
        }
    }
    out.heads = rows;
    Ok(())
}

impl Gradient {
    /// Makes the graphs; parameters and other states are declared in `model`. `resident`: the state that holds the
    /// training images.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn new(
        config: &Config,
        method: &dyn Method,
        model: &mut Model,
        side: (usize, usize),
        resident: Option<StateId>,
    ) -> Result<Self> {
        Self::of_rank(config, method, model, side, resident, World::default())
    }

    /// As [`Gradient::new`], for a rank of `config.dist.ranks` that has a share of the batch.
    ///
    /// # Errors
    /// As [`Gradient::new`].
    pub fn of_rank(
        config: &Config,
        method: &dyn Method,
        model: &mut Model,
        side: (usize, usize),
        resident: Option<StateId>,
        world: World,
    ) -> Result<Self> {
        let parts = config.parts_of(world.rank());
        let draws = method.draws();
        let precision = config.optim.precision;
        let count = config.part();
        let pass = |model: &Model| Pass::new(config, count, &draws, model, side, resident);
        let mut views = pass(model)?;
        let (out, features, own, cache) = match cached(config, method) {
            Some(split) => {
                let first = pass(model)?;
                let of = (&mut *model, &world);
                let parts = (parts, config.divisor());
                let t = cached::programs(split, of, precision, parts, first, &mut views)?;
                let cache = Cache {
                    embed: t.embed,
                    draft: t.loss,
                    loss: ProgramId::default(),
                };
                (t.out, t.features, t.own, Some(cache))
            }
            None => {
                let g = &mut views.draft.graph;
                let one_loss = coupled(config, method).is_some();
                let mut net = Net::new(g, model, Mode::Train)
                    .in_precision(precision)
                    .in_world(world.clone(), one_loss)
                    .with_one_norm(config.model.sync_bn);
                let mut out = method.build(&mut net, &views.batch)?;
                let loss = scaled(&mut net, out.loss, optimizer::WHOLE)?;
                let [grads, of_heads] = backward(net.graph, net.model, loss, &out.heads)?;
                head_rows(net.graph, &mut out, of_heads)?;
                method.after_gradient(&mut net, &out)?;
                views.draft.grads = grads;
                views.draft.fetch = fetched(&out);
                views.draft.fetch.extend(&out.features);
                let features = out.features.clone();
                (out, features, None, None)
            }
        };
        let g = cache
            .as_ref()
            .map_or(&views.draft.graph, |c| &c.draft.graph);
        let embedding = out.embedding.map_or([1, 1], |t| match *g.dims(t) {
            [_, n, d] => [n, d],
            _ => [1, 1],
        });
        let head = out.pairs.map_or([1, 1], |p| match *g.dims(p.similarity) {
            [_, rows, columns] => [rows, columns],
            [_, rows] => [rows, 1],
            _ => [1, 1],
        });
        let heads = out.heads.first().map_or([0; 3], |t| match *g.dims(*t) {
            [c, n, d] => [c, n, d],
            _ => [0; 3],
        });
        let once = cache.as_ref().map_or(0.0, |c| c.draft.graph.model_flops());
        let of_own = own.as_ref().map_or(&[][..], |o| &o.terms);
        let terms = out.terms.iter().chain(of_own).map(|t| t.0).collect();
        let own = own.map_or(Vec::new(), |o| each_step(o.loss, &o.terms));
        let flops = views.draft.graph.model_flops() * parts as f64 + once;
        let again = cache.as_ref().map(|c| c.embed.draft.graph.model_flops());
        let work = flops + again.unwrap_or(0.0) * parts as f64;
        Ok(Self {
            out,
            head,
            embedding,
            heads,
            resident: resident.is_some(),
            flops,
            work,
            terms,
            parts,
            divisor: config.divisor(),
            delivery: match config.has_micro_batches() {
                false => Delivery::Written,
                true => Delivery::Accumulated,
            },
            views,
            cache,
            features,
            own,
        })
    }

    fn drafts(&mut self) -> impl Iterator<Item = &mut Draft> {
        let cache = self.cache.as_mut();
        let first = cache.map(|c| [&mut c.embed.draft, &mut c.draft]);
        first.into_iter().flatten().chain([&mut self.views.draft])
    }

    /// Brings the gradients into the optimiser's group of them, which must be declared: where one run of one program
    /// makes them all, its nodes write them there.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn collect(&mut self, model: &Model) -> Result<()> {
        self.collect_for(model, &Exchange::default())
    }

    /// As [`Gradient::collect`], of a rank that averages its gradients with others.
    ///
    /// # Errors
    /// As [`Gradient::collect`].
    pub fn collect_for(&mut self, model: &Model, exchange: &Exchange) -> Result<()> {
        let to = (self.delivery(), exchange);
        for d in self.drafts() {
            optimizer::collect_for(&mut d.graph, model, &d.grads, to)?;
        }
        Ok(())
    }

    /// How gradients come to the optimiser.
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// Compiles the programs; the graphs are given up.
    ///
    /// # Errors
    /// Memory, shaders.
    pub fn compile(mut self, exec: &mut dyn Executor) -> Result<Self> {
        let mut programs = Vec::new();
        // The largest first: the others then compute in its memory.
        let drafts: Vec<&mut Draft> = self.drafts().collect();
        for d in drafts.into_iter().rev() {
            let d = std::mem::take(d);
            programs.push(exec.compile(&d.graph, &d.fetch)?);
        }
        programs.reverse();
        if let (Some(c), [embed, loss, _]) = (&mut self.cache, &programs[..]) {
            (c.embed.program, c.loss) = (*embed, *loss);
        }
        if let Some(last) = programs.last() {
            self.views.program = *last;
        }
        Ok(self)
    }

    /// What a fetched tensor is, in a word: the loss, one of its terms, similarities or scores of pairs.
    pub fn called(&self, t: TensorId) -> Option<&'static str> {
        let pairs = self.out.pairs;
        let term = self.out.terms.iter().find(|(_, id)| *id == t);
        match t {
            _ if t == self.out.loss => Some("loss"),
            _ if pairs.is_some_and(|p| p.similarity == t) => Some("similarity"),
            _ if pairs.is_some_and(|p| p.score == Some(t)) => Some("score"),
            _ => term.map(|(name, _)| *name),
        }
    }

    /// All programs, that of the largest activations first.
    pub fn programs(&self) -> Vec<ProgramId> {
        let mut all = vec![self.views.program];
        all.extend(self.cache.iter().flat_map(|c| [c.embed.program, c.loss]));
        all
    }

    /// The program that makes the loss and what [`Gradient::out`] names, but for the features.
    pub fn loss_program(&self) -> ProgramId {
        self.cache.as_ref().map_or(self.views.program, |c| c.loss)
    }

    /// Has `act` done with every program of a batch, in their order, its inputs sent before: with the program, and
    /// the scalars as it needs them. Ends early when `act` says false.
    fn each(
        &self,
        exec: &mut dyn Executor,
        config: &Config,
        (data, ids): (&dyn Images, &[u32]),
        scalars: &StepScalars,
        mut act: impl FnMut(&mut dyn Executor, ProgramId, &StepScalars) -> Result<bool>,
    ) -> Result<()> {
        let whole = StepScalars {
            micro: 0,
            grad_scale: 1.0 / self.divisor as f32,
            ..*scalars
        };
        let passes = self.cache.iter().map(|c| &c.embed).chain([&self.views]);
        for (at, pass) in passes.enumerate() {
            if let Some(c) = self.cache.as_ref().filter(|_| at == 1)
                && !act(exec, c.loss, &whole)?
            {
                return Ok(());
            }
            for (micro, ids) in ids.chunks(ids.len() / self.parts).enumerate() {
                pass.send(exec, config, (data, ids), scalars.epoch)?;
                let s = StepScalars {
                    micro: micro as u32,
                    ..whole
                };
                if !act(exec, pass.program, &s)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Starts the gradient of a batch of samples `ids`, without waiting for it.
    ///
    /// # Errors
    /// Device loss.
    pub fn start(
        &self,
        exec: &mut dyn Executor,
        config: &Config,
        batch: (&dyn Images, &[u32]),
        scalars: &StepScalars,
    ) -> Result<Started> {
        let of_loss = each_step(self.out.loss, &self.out.terms);
        let of_all = if self.cache.is_some() {
            1.0
        } else {
            self.divisor
        };
        let mut started = Started([(Vec::new(), of_all), (Vec::new(), self.divisor)]);
        self.each(exec, config, batch, scalars, |exec, program, s| {
            exec.run(program, s)?;
            if program == self.loss_program() {
                started.0[0].0.push(exec.fetch_later(program, &of_loss)?);
            } else if program == self.views.program && !self.own.is_empty() {
                started.0[1].0.push(exec.fetch_later(program, &self.own)?);
            }
            Ok(true)
        })?;
        Ok(started)
    }

    /// Runs a batch op by op until one makes a value that is not finite.
    ///
    /// # Errors
    /// Device loss.
    pub fn find_non_finite(
        &self,
        exec: &mut dyn Executor,
        config: &Config,
        batch: (&dyn Images, &[u32]),
        scalars: &StepScalars,
    ) -> Result<Option<NonFinite>> {
        let mut found = None;
        self.each(exec, config, batch, scalars, |exec, program, s| {
            found = exec.find_non_finite(program, s)?;
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    /// Times every dispatch (or node) of the programs, one after the other, each once.
    ///
    /// # Errors
    /// A device without timestamps; device loss.
    pub fn profile(&self, exec: &mut dyn Executor, scalars: &StepScalars) -> Result<Vec<Timed>> {
        let mut all: Vec<Timed> = Vec::new();
        for program in self.programs() {
            let end = all.last().map_or(0.0, |t| t.start + t.seconds);
            for mut t in exec.profile(program, scalars)? {
                t.start += end;
                all.push(t);
            }
        }
        Ok(all)
    }

    /// The graphs, until they are compiled.
    pub fn graphs(&mut self) -> Vec<&Graph> {
        self.drafts().map(|d| &d.graph).collect()
    }

    /// Backbone features of the last (micro-)batch's views, one after the other: the first images of each, at most
    /// `most` elements (all pairs of a large batch would not fit the host).
    ///
    /// # Errors
    /// Device loss.
    pub fn backbone(&self, exec: &mut dyn Executor, most: usize) -> Result<Vec<f32>> {
        let (mut f, inside) = (Vec::new(), (2 / self.features.len().max(1)).max(1));
        for t in &self.features {
            let all = exec.fetch(self.views.program, *t)?.to_f32();
            let view = (all.len() / inside).max(1);
            all.chunks(view)
                .for_each(|v| f.extend(&v[..view.min(most)]));
        }
        Ok(f)
    }
}
