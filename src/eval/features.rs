//! Backbone features of whole data sets: test transform, running statistics.

use crate::data::Dataset;
use crate::data::ahead::Ahead;
use crate::data::augment::Policy;
use crate::eval::attention;
use crate::eval::knn::{self, Bank, Vote};
use crate::graph::exec::Ticket;
use crate::graph::{
    Executor, Graph, GraphError, HostData, ProgramId, Result, StepScalars, TensorId, TensorType,
};
use crate::nn::backbones::Pool;
use crate::nn::heads::Mlp;
use crate::nn::{Backbone, Mode, Model, Net, Part};
use crate::ops::augment::{Augment, words};
use std::collections::VecDeque;
use std::ops::Range;

/// Batches under way: while the device computes one, the host packs the next.
const IN_FLIGHT: usize = 2;

/// A trained encoder at hand, whoever holds it: a training that has ended, or a run that was read back.
pub trait Embedder {
    /// The extractor, and the executor that it is compiled on.
    fn parts(&mut self) -> (Features, &mut dyn Executor);

    /// Length of a feature.
    fn dim(&self) -> usize;

    /// Backbone features [n,dim] of all images.
    ///
    /// # Errors
    /// Images of another size than the encoder was set up for; device loss.
    fn embed(&mut self, data: &Dataset) -> Result<Vec<f32>> {
        let (features, exec) = self.parts();
        features.of(exec, data, &mut |_, _| ())
    }

    /// What the class token looks at in the first images of `data`, as many as a page shows; none where the encoder has
    /// no class token.
    ///
    /// # Errors
    /// Images of another size than the encoder was set up for; device loss.
    fn attention(&mut self, _data: &Dataset) -> Result<Option<attention::Picture>> {
        Ok(None)
    }

    /// All classes for each of `queries` [q,dim], the likeliest first ([q,classes]), by its nearest neighbours in
    /// `bank`.
    ///
    /// # Errors
    /// An empty bank; memory, device loss.
    fn rank(
        &mut self,
        queries: &[f32],
        bank: Bank<'_>,
        classes: usize,
        vote: Vote,
    ) -> Result<Vec<u32>> {
        let (features, exec) = self.parts();
        knn::ranked_once(exec, (queries, features.dim), bank, classes, vote)
    }
}

/// Views that a policy draws, for a seed and epoch.
pub type Drawn<'a> = (&'a Policy, u64, u32);

/// A compiled feature extractor: of one feature an image, or of several that one pass makes.
#[derive(Clone, Debug)]
pub struct Features {
    program: ProgramId,
    images: TensorId,
    table: TensorId,
    /// The features, all of the same length.
    outputs: Vec<TensorId>,
    batch: usize,
    side: (usize, usize),
    size: usize,
    policy: Policy,
    /// Where the wanted head's embeddings start in the output, in rows.
    first: usize,
    /// Length of a feature.
    pub dim: usize,
}

/// Which images an extractor is for.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Height and width of the images.
    pub side: (usize, usize),
    /// Side of the views that the encoder sees.
    pub size: usize,
    /// Images at once.
    pub batch: usize,
}

impl Features {
    /// Appends the graph; parameters are declared in `model` if they are not yet. `pools` are the features that are
    /// wanted of the encoder's tokens, in this order; where it is empty, the pooled feature is.
    ///
    /// # Errors
    /// Shapes that do not fit; an encoder without tokens.
    pub fn graph(
        encoder: &dyn Backbone,
        model: &mut Model,
        policy: &Policy,
        Shape { side, size, batch }: Shape,
        pools: &[Pool],
    ) -> Result<(Graph, Self)> {
        let mut g = Graph::new();
        let images = g.input("images", TensorType::u32([batch, words(side.0, side.1)]));
        let table = g.input(
            "views",
            TensorType::f32([batch, crate::reference::augment::ROW]),
        );
        let op = Augment {
            blur: false,
            ..policy.op(side, size)
        };
        let x = g.push1(op, &[images, table])?;
        let mut net = Net::new(&mut g, model, Mode::Eval);
        let network = encoder.layers(&mut net);
        let seen = network.call(&mut net, x)?;
        let mut outputs = Vec::new();
        for pool in pools {
            let found = network.read(&mut net, seen, *pool)?;
            outputs.push(found.ok_or_else(|| {
                GraphError::Invalid(format!("this encoder has no tokens, so no {pool}"))
            })?);
        }
        if outputs.is_empty() {
            outputs.push(seen.pooled);
        }
        let features = Self {
            program: ProgramId::default(),
            images,
            table,
            dim: g.dims(seen.pooled)[1],
            outputs,
            batch,
            side,
            size,
            policy: policy.clone(),
            first: 0,
        };
        Ok((g, features))
    }

    /// The embeddings of head `index` of `head`, made of the (first) feature, in its place.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn of_head(
        self,
        g: &mut Graph,
        model: &mut Model,
        head: &Mlp,
        index: usize,
    ) -> Result<Self> {
        let mut net = Net::new(g, model, Mode::Eval);
        let layers = head.layers(&mut net, Part::Projector, self.dim);
        let output = layers.call(&mut net, self.outputs[0])?;
        let dim = g.dims(output)[2];
        Ok(Self {
            outputs: vec![output],
            dim,
            first: index * self.batch,
            ..self
        })
    }

    /// Compiles the graph that [`Features::graph`] made. Its table is that of images of the shape's sides, until a batch
    /// brings its own: a recording has it so.
    ///
    /// # Errors
    /// Memory, shaders.
    pub fn compile(mut self, g: &Graph, exec: &mut dyn Executor) -> Result<Self> {
        self.program = exec.compile(g, &self.outputs)?;
        let rows = HostData::F32(self.policy.plain(self.side, self.batch));
        exec.upload(self.program, self.table, &rows)?;
        Ok(self)
    }

    /// The program.
    pub fn program(&self) -> ProgramId {
        self.program
    }

    /// The (first) feature [n,dim] of all images; `progress` is told of images done, and of all.
    ///
    /// # Errors
    /// Images of another size than the graph was made for; device loss.
    pub fn of(
        &self,
        exec: &mut dyn Executor,
        data: &Dataset,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>> {
        Ok(self.each(exec, data, progress)?.swap_remove(0))
    }

    /// Every feature [n,dim] of all images, from one pass over them.
    ///
    /// # Errors
    /// As [`Features::of`].
    pub fn each(
        &self,
        exec: &mut dyn Executor,
        data: &Dataset,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Vec<f32>>> {
        self.of_part(exec, (data, 0..data.len()), None, progress)
    }

    /// The (first) feature of the images of a range: one rank's share of a set.
    ///
    /// # Errors
    /// As [`Features::of`].
    pub fn of_range(
        &self,
        exec: &mut dyn Executor,
        images: (&Dataset, Range<usize>),
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>> {
        Ok(self.of_part(exec, images, None, progress)?.swap_remove(0))
    }

    /// Each of the features of the images of a range, or of views of them: one device's part of a set.
    ///
    /// # Errors
    /// As [`Features::of`].
    pub fn of_part(
        &self,
        exec: &mut dyn Executor,
        (data, range): (&Dataset, Range<usize>),
        views: Option<Drawn<'_>>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Vec<f32>>> {
        if (data.height, data.width) != self.side {
            return Err(GraphError::Invalid(format!(
                "images of {}x{} where the encoder was set up for {}x{}",
                data.height, data.width, self.side.0, self.side.1
            )));
        }
        let room = range.len() * self.dim;
        let mut out: Vec<Vec<f32>> = self
            .outputs
            .iter()
            .map(|_| Vec::with_capacity(room))
            .collect();
        let mut pending: VecDeque<(Ticket, usize)> = VecDeque::new();
        let mut ahead = Ahead::in_order(data, range.clone(), self.batch)?;
        let mut start = range.start;
        while start < range.end || !pending.is_empty() {
            if start < range.end && pending.len() < IN_FLIGHT {
                let end = (start + self.batch).min(range.end);
                let ids: Vec<u32> = (start as u32..end as u32).collect();
                if let Some(ahead) = &mut ahead {
                    ahead.next(&ids, &mut |_| ())?;
                }
                let mut x = Ahead::or(ahead.as_ref(), data).packed(&ids)?;
                x.fill(self.batch);
                x.upload(exec, self.program, self.images)?;
                let sides = x.sides.as_slice();
                let mut rows = self.policy.plain(sides, self.batch);
                if let Some((policy, seed, epoch)) = views {
                    let drawn = policy.views(1, sides, &ids, self.size, (seed, epoch));
                    rows[..drawn.len()].copy_from_slice(&drawn);
                }
                exec.upload(self.program, self.table, &HostData::F32(rows))?;
                Ahead::or(ahead.as_ref(), data).done(x);
                exec.run(self.program, &StepScalars::default())?;
                let ticket = exec.fetch_later(self.program, &self.outputs)?;
                pending.push_back((ticket, end - start));
                start = end;
            } else if let Some((ticket, n)) = pending.pop_front() {
                let part = exec.collect(&ticket, true)?.unwrap_or_default();
                let at = self.first * self.dim;
                for (out, values) in out.iter_mut().zip(&part) {
                    out.extend_from_slice(&values.to_f32()[at..at + n * self.dim]);
                }
                progress(out[0].len() / self.dim, range.len());
            }
        }
        Ok(out)
    }
}
