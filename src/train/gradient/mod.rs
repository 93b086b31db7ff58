//! The gradient of a batch's loss as programs on an executor: one for each micro-batch, or with gradient caching (Gao et al., "Scaling Deep Contrastive Learning Batch
//! Size under Memory Limited Setup", 2021) three:
//!
//! 1. *embed*, a micro-batch at a time: views -> embeddings, kept in a state;
//! 2. *loss*, once: all embeddings -> the loss of the whole batch, its gradient to the embeddings (kept) and to the temperature MLP;
//! 3. *views*, a micro-batch at a time: the same views -> embeddings again, and from the kept gradient that of encoder and heads.
//!
//! The activations of one micro-batch are alive at a time, and the gradient is that of the whole batch, but for batch norm, whose statistics are of micro-batches.

mod cached;

use super::optimizer::{self, Share};
use super::{Config, Result};
use crate::config::method::{self, cached};
use crate::data::{Dataset, packed};
use crate::device::recording::Timed;
use crate::graph::exec::{NonFinite, Ticket};
use crate::graph::{
    Executor, Graph, HostData, ProgramId, StateId, StepScalars, TensorId, TensorType,
};
use crate::methods::Method;
use crate::methods::loss::Built;
use crate::nn::Model;
use crate::ops;
use crate::ops::accumulate::Accumulate;
use crate::ops::augment::{Augment, words};
use crate::ops::gather_rows::GatherRows;
use crate::ops::mul::Mul;
use crate::ops::reshape::Reshape;
use crate::reference::augment::ROW;

/// Where a step's images come from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The data set lies on the device; a step sends the numbers of its samples.
    Resident { index: TensorId },
    /// Each step sends its images.
    Streamed { images: TensorId },
}

/// A program, before it is compiled: its graph and what is fetched.
#[derive(Debug, Default)]
struct Draft {
    graph: Graph,
    fetch: Vec<TensorId>,
    grads: Vec<Option<TensorId>>,
}

/// A program that takes a micro-batch's images.
#[derive(Debug)]
struct Pass {
    draft: Draft,
    program: ProgramId,
    source: Source,
    tables: Vec<TensorId>,
}

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
    /// Loss, similarities, scores: tensors of the program that makes the loss.
    pub built: Built,
    /// Rows and columns of a head's similarities.
    pub head: [usize; 2],
    /// Rows and columns of a head's embeddings.
    pub embedding: [usize; 2],
    /// Training images lie on the device.
    pub resident: bool,
    /// Operations of a batch's matrix products and convolutions, forward and backward; what caching does twice counts once.
    pub flops: f64,
    /// Micro-batches.
    parts: usize,
    views: Pass,
    cache: Option<Cache>,
    features: Vec<TensorId>,
    side: (usize, usize),
}

/// Images of a micro-batch -> views, as a new graph.
fn views_of(
    config: &Config,
    method: &dyn Method,
    model: &Model,
    side: (usize, usize),
    resident: Option<StateId>,
) -> Result<(Pass, Vec<TensorId>)> {
    let (mut g, image_words) = (Graph::new(), words(side.0, side.1));
    let batch = config.optim.batch_size / config.optim.micro_batches;
    // The batch's images [batch, words]: gathered from the device's copy of the data set, or sent.
    let (source, images) = match resident {
        Some(id) => {
            let all = g.state(&model.states, id);
            let index = g.input("samples", TensorType::u32([batch]));
            let images = g.scope("views", |g| g.push1(GatherRows, &[all, index]))?;
            (Source::Resident { index }, images)
        }
        None => {
            let images = g.input("images", TensorType::u32([batch, image_words]));
            (Source::Streamed { images }, images)
        }
    };
    let augment = Augment {
        height: side.0,
        width: side.1,
        size: config.model.image_size,
        blur: config.augment.blurs(),
        mean: config.augment.mean,
        std: config.augment.std,
    };
    let mut tables = Vec::new();
    let views = method::views(method, batch, |rows| {
        let table = g.input("view table", TensorType::f32([rows, ROW]));
        tables.push(table);
        g.scope("views", |g| g.push1(augment, &[images, table]))
    })?;
    let draft = Draft {
        graph: g,
        ..Draft::default()
    };
    let pass = Pass {
        draft,
        program: ProgramId::default(),
        source,
        tables,
    };
    Ok((pass, views))
}

/// The loss to differentiate: with mixed precision, times the loss scale.
fn scaled(g: &mut Graph, model: &mut Model, loss: TensorId) -> Result<TensorId> {
    if !model.half {
        return Ok(loss);
    }
    let id = optimizer::scale(model);
    let scale = g.state(&model.states, id);
    let shape = g.ty(scale).shape.clone();
    let loss = g.push1(Reshape { shape }, &[loss])?;
    // Kept for the optimiser's side, which has to know an overflow of the loss from one of its gradient.
    let kept = optimizer::kept_loss(model);
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

/// What is fetched of a loss.
fn fetched(b: &Built) -> Vec<TensorId> {
    let mut fetch = vec![b.loss, b.similarity];
    fetch.extend(b.score);
    fetch.extend(b.embedding);
    fetch
}

impl Gradient {
    /// Makes the graphs; parameters and other states are declared in `model`. `resident`: the state that holds the training images.
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
        let parts = config.optim.micro_batches;
        let pass = |model: &Model| views_of(config, method, model, side, resident);
        let (mut views, tensors) = pass(model)?;
        let (built, features, cache) = match cached(config, method) {
            Some(h) => {
                let first = pass(model)?;
                let t = cached::three(h, model, parts, first, (&mut views, &tensors))?;
                let cache = Cache {
                    embed: t.embed,
                    draft: t.loss,
                    loss: ProgramId::default(),
                };
                (t.built, t.features, Some(cache))
            }
            None => {
                let g = &mut views.draft.graph;
                let built = method.loss(g, model, &tensors)?;
                let loss = scaled(g, model, built.loss)?;
                let [grads, _] = backward(g, model, loss, &[])?;
                method.after_gradient(g, model, &built)?;
                views.draft.grads = grads;
                views.draft.fetch = fetched(&built);
                views.draft.fetch.extend(&built.features);
                let features = built.features.clone();
                (built, features, None)
            }
        };
        let g = cache
            .as_ref()
            .map_or(&views.draft.graph, |c| &c.draft.graph);
        let embedding = built.embedding.map_or([1, 1], |t| match *g.dims(t) {
            [_, n, d] => [n, d],
            _ => [1, 1],
        });
        let head = match *g.dims(built.similarity) {
            [_, rows, columns] => [rows, columns],
            [_, rows] => [rows, 1],
            _ => [1, 1],
        };
        let once = cache.as_ref().map_or(0.0, |c| c.draft.graph.model_flops());
        let flops = views.draft.graph.model_flops() * parts as f64 + once;
        Ok(Self {
            built,
            head,
            embedding,
            resident: resident.is_some(),
            flops,
            parts,
            views,
            cache,
            features,
            side,
        })
    }

    fn drafts(&mut self) -> impl Iterator<Item = &mut Draft> {
        let cache = self.cache.as_mut();
        let first = cache.map(|c| [&mut c.embed.draft, &mut c.draft]);
        first.into_iter().flatten().chain([&mut self.views.draft])
    }

    /// Brings the gradients into the optimiser's group of them, which must be declared: where one run of one program makes them all, its nodes write them there.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn collect(&mut self, model: &Model) -> Result<()> {
        let share = match (self.parts, &self.cache) {
            (1, None) => Share::Whole,
            _ => Share::Part,
        };
        for d in self.drafts() {
            optimizer::collect(&mut d.graph, model, &d.grads, share)?;
        }
        Ok(())
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

    /// All programs, that of the largest activations first.
    pub fn programs(&self) -> Vec<ProgramId> {
        let mut all = vec![self.views.program];
        all.extend(self.cache.iter().flat_map(|c| [c.embed.program, c.loss]));
        all
    }

    /// The program that makes the loss and what [`Gradient::built`] names, but for the features.
    pub fn loss_program(&self) -> ProgramId {
        self.cache.as_ref().map_or(self.views.program, |c| c.loss)
    }

    /// Sends what a micro-batch needs.
    fn send(
        &self,
        pass: &Pass,
        exec: &mut dyn Executor,
        config: &Config,
        data: &Dataset,
        ids: &[u32],
        epoch: u32,
    ) -> Result<()> {
        let (size, seed) = (config.model.image_size, config.run.seed);
        let table = config.augment.two_views(self.side, ids, size, seed, epoch);
        let each = table.len() / pass.tables.len();
        for (id, rows) in pass.tables.iter().zip(table.chunks(each)) {
            exec.upload(pass.program, *id, &HostData::F32(rows.to_vec()))?;
        }
        match pass.source {
            Source::Resident { index } => {
                exec.upload(pass.program, index, &HostData::U32(ids.to_vec()))?
            }
            Source::Streamed { images } => {
                let x = packed::pack(data, ids);
                exec.upload(pass.program, images, &HostData::U32(x))?;
            }
        }
        Ok(())
    }

    /// Has `act` done with every program of a batch, in their order, its inputs sent before: with the program, and the scalars as it needs them. Ends early when
    /// `act` says false.
    fn each(
        &self,
        exec: &mut dyn Executor,
        config: &Config,
        (data, ids): (&Dataset, &[u32]),
        scalars: &StepScalars,
        mut act: impl FnMut(&mut dyn Executor, ProgramId, &StepScalars) -> Result<bool>,
    ) -> Result<()> {
        let parts = config.optim.micro_batches;
        // The loss of the whole batch is a mean already; losses of micro-batches are averaged.
        let grad_scale = match self.cache {
            Some(_) => 1.0,
            None => 1.0 / parts as f32,
        };
        let whole = StepScalars {
            micro: 0,
            grad_scale,
            ..*scalars
        };
        let passes = self.cache.iter().map(|c| &c.embed).chain([&self.views]);
        for (at, pass) in passes.enumerate() {
            if let Some(c) = self.cache.as_ref().filter(|_| at == 1)
                && !act(exec, c.loss, &whole)?
            {
                return Ok(());
            }
            for (micro, ids) in ids.chunks(ids.len() / parts).enumerate() {
                self.send(pass, exec, config, data, ids, scalars.epoch)?;
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

    /// Starts the gradient of a batch of samples `ids`, without waiting for it. The mean of the tickets' values is its loss.
    ///
    /// # Errors
    /// Device loss.
    pub fn start(
        &self,
        exec: &mut dyn Executor,
        config: &Config,
        batch: (&Dataset, &[u32]),
        scalars: &StepScalars,
    ) -> Result<Vec<Ticket>> {
        let mut losses = Vec::new();
        self.each(exec, config, batch, scalars, |exec, program, s| {
            exec.run(program, s)?;
            if program == self.loss_program() {
                losses.push(exec.fetch_later(program, &[self.built.loss])?);
            }
            Ok(true)
        })?;
        Ok(losses)
    }

    /// Runs a batch op by op until one makes a value that is not finite.
    ///
    /// # Errors
    /// Device loss.
    pub fn find_non_finite(
        &self,
        exec: &mut dyn Executor,
        config: &Config,
        batch: (&Dataset, &[u32]),
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

    /// Backbone features of the last (micro-)batch's views, one after the other: the first images of each, at most `most` elements (all pairs of a large batch would not
    /// fit the host).
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
