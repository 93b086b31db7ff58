//! A program's beginning: images, augmented views of them, and whatever else a method draws for a batch. It sends what
//! a batch needs.

use super::{Config, Result};
use crate::data::augment::Sides;
use crate::data::packed::Images;
use crate::graph::{Executor, Graph, HostData, ProgramId, StateId, TensorId, TensorType};
use crate::methods::{Batch, Draws, Views};
use crate::nn::Model;
use crate::ops::augment::words;
use crate::ops::gather_rows::GatherRows;
use crate::reference::augment::ROW;

/// A program, before it is compiled: its graph and what is fetched.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// The graph.
    pub graph: Graph,
    /// What is fetched.
    pub fetch: Vec<TensorId>,
    /// Gradients of the parameters, in their order.
    pub grads: Vec<Option<TensorId>>,
}

/// Where a step's images come from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The data set lies on the device; a step sends the numbers of its samples.
    Resident { index: TensorId },
    /// Each step sends its images.
    Streamed { images: TensorId },
}

/// Images and their views.
#[derive(Clone, Debug)]
struct Viewed {
    source: Source,
    /// The views' tables, one for each of their tensors.
    tables: Vec<TensorId>,
}

/// What images and their views are made of.
#[derive(Clone, Copy)]
struct Making<'a> {
    config: &'a Config,
    count: usize,
    views: Views,
    model: &'a Model,
    side: (usize, usize),
    resident: Option<StateId>,
}

impl Viewed {
    /// Appends images [count, words], gathered from the device's copy of the data set or sent, and their views.
    fn new(g: &mut Graph, of: Making<'_>) -> Result<(Self, Vec<TensorId>)> {
        let (count, side) = (of.count, of.side);
        let (source, images) = match of.resident {
            Some(id) => {
                let all = g.state(&of.model.states, id);
                let index = g.input("samples", TensorType::u32([count]));
                let images = g.scope("views", |g| g.push1(GatherRows, &[all, index]))?;
                (Source::Resident { index }, images)
            }
            None => {
                let words = words(side.0, side.1);
                let images = g.input("images", TensorType::u32([count, words]));
                (Source::Streamed { images }, images)
            }
        };
        let augment = of.config.augment.op(side, of.config.model.image_size);
        let rows = count * of.views.count() / of.views.tensors();
        let (mut tables, mut views) = (Vec::new(), Vec::new());
        for _ in 0..of.views.tensors() {
            let table = g.input("view table", TensorType::f32([rows, ROW]));
            tables.push(table);
            views.push(g.scope("views", |g| g.push1(augment, &[images, table]))?);
        }
        Ok((Self { source, tables }, views))
    }

    /// Sends the images `ids`, or their numbers, and the tables of their views.
    fn send(
        &self,
        exec: &mut dyn Executor,
        (program, config): (ProgramId, &Config),
        (data, ids): (&dyn Images, &[u32]),
        (views, side): (Views, (usize, usize)),
        epoch: u32,
    ) -> Result<()> {
        let (size, seed) = (config.model.image_size, config.run.seed);
        let mut images = match self.source {
            Source::Resident { .. } => None,
            Source::Streamed { .. } => Some(data.packed(ids)?),
        };
        // What is drawn for an image needs its sides, which are known once it is fetched.
        let kept = data.whole().map(|d| d.sides_of(ids));
        let sides = match (&images, &kept) {
            (Some(images), _) => Sides::Each(&images.sides),
            (None, Some(kept)) => Sides::Each(kept),
            (None, None) => Sides::Same(side),
        };
        let drawn = (seed, epoch);
        let table = config.augment.views(views.count(), sides, ids, size, drawn);
        let each = table.len() / self.tables.len();
        for (id, rows) in self.tables.iter().zip(table.chunks(each)) {
            exec.upload(program, *id, &HostData::F32(rows.to_vec()))?;
        }
        match self.source {
            Source::Resident { index } => {
                exec.upload(program, index, &HostData::U32(ids.to_vec()))?;
            }
            Source::Streamed { images: input } => {
                if let Some(mut images) = images.take() {
                    images.upload(exec, program, input)?;
                    data.done(images);
                }
            }
        }
        Ok(())
    }
}

/// A program that begins with images.
#[derive(Debug)]
pub(crate) struct Pass {
    /// The graph, which grows behind the views.
    pub draft: Draft,
    /// The program, once it is compiled.
    pub program: ProgramId,
    /// What a method is built on.
    pub batch: Batch,
    own: Viewed,
    regrouped: Option<Viewed>,
    draws: Draws,
    side: (usize, usize),
}

impl Pass {
    /// The views of `count` images, as a new graph, and those of as many others where the draws ask for them.
    pub fn new(
        config: &Config,
        count: usize,
        draws: &Draws,
        model: &Model,
        side: (usize, usize),
        resident: Option<StateId>,
    ) -> Result<Self> {
        let mut g = Graph::new();
        let of = Making {
            config,
            count,
            views: draws.views,
            model,
            side,
            resident,
        };
        let (own, views) = Viewed::new(&mut g, of)?;
        let regrouped = draws.regrouped.map(|_| Viewed::new(&mut g, of));
        let (regrouped, others) = regrouped.transpose()?.unzip();
        let batch = Batch::new(&mut g, draws, count, views);
        let batch = batch.with_regrouped(others.unwrap_or_default());
        let draft = Draft {
            graph: g,
            ..Draft::default()
        };
        Ok(Self {
            draft,
            program: ProgramId::default(),
            batch,
            own,
            regrouped,
            draws: draws.clone(),
            side,
        })
    }

    /// Sends what a run on the samples `ids` needs, behind which those stand that [`Draws::regrouped`] asks for.
    pub fn send(
        &self,
        exec: &mut dyn Executor,
        config: &Config,
        (data, ids): (&dyn Images, &[u32]),
        epoch: u32,
    ) -> Result<()> {
        let (ids, others) = match self.regrouped {
            Some(_) => ids.split_at(self.batch.images),
            None => (ids, &[][..]),
        };
        let (to, how) = ((self.program, config), (self.draws.views, self.side));
        if let Some(regrouped) = &self.regrouped {
            regrouped.send(exec, to, (data, others), how, epoch)?;
        }
        self.own.send(exec, to, (data, ids), how, epoch)?;
        let (views, seed) = (self.draws.views.count(), config.run.seed);
        for (i, (id, n)) in self
            .batch
            .numbers
            .iter()
            .zip(&self.draws.numbers)
            .enumerate()
        {
            let drawn = n.draw(i, views, ids, (seed, epoch));
            exec.upload(self.program, *id, &HostData::F32(drawn))?;
        }
        for (i, id) in self.batch.streams.iter().enumerate() {
            let words = self.draws.words(i, ids, (seed, epoch));
            exec.upload(self.program, *id, &HostData::U32(words))?;
        }
        if let Some(id) = self.batch.ids {
            exec.upload(self.program, id, &HostData::U32(ids.to_vec()))?;
        }
        Ok(())
    }
}
