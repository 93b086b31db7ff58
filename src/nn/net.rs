//! The build context: the graph that grows, the model whose variables it takes, and how layers are built at this
//! place. A place is entered by a closure and left when the closure ends: names, mode, precision, norm, branch are
//! then what they were before.

use super::model::{Init, Layout, MOMENTUM_COPY, Model, PARAMS, Part, STATISTICS, Variable};
use crate::comm::World;
use crate::graph::{Graph, Result, StateId, TensorId, TensorType};
use crate::ops::drop_path::DropPath;
use crate::ops::slice_tokens::SliceTokens;
use serde::{Deserialize, Serialize};
use std::ops::{Deref, DerefMut};

/// What the graph is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A training step: batch norm takes the batch's statistics, and running statistics follow.
    Train,
    /// Evaluation: batch norm takes the running statistics.
    Eval,
}

/// What a training step computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit storage and products, 32-bit sums: convolutions and the heads' products take halves, activations
    /// between convolutions are kept as halves.
    Mixed,
}

/// How batch norm takes the batch's statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Norm {
    /// The batch is cut into so many groups, each with statistics of its own (split batch norm: what several GPUs
    /// would see).
    pub groups: usize,
    /// A group takes every `groups`-th sample instead of neighbours. Queries grouped one way and keys the other share
    /// no batch-mates, which is what MoCo's shuffling is for.
    pub interleaved: bool,
    /// Running statistics follow. A momentum encoder has none, for only the trained encoder is evaluated.
    pub track: bool,
}

impl Default for Norm {
    fn default() -> Self {
        Self {
            groups: 1,
            interleaved: false,
            track: true,
        }
    }
}

/// Whose parameters layers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Branch {
    Online,
    Momentum,
}

/// A declared parameter or statistic, as layers keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Var(StateId);

/// How layers are built at this place.
#[derive(Clone, Copy, Debug)]
struct Place {
    mode: Mode,
    precision: Precision,
    norm: Norm,
    branch: Branch,
    part: Part,
    /// Length of the names before the part's own.
    part_begins: usize,
    layer: usize,
    lr_multiplier: f32,
    trained: bool,
    thawed: bool,
    xavier: bool,
}

/// A graph under construction, with its model. It can be used as the [`Graph`] that it holds.
#[derive(Debug)]
pub struct Net<'a> {
    /// The graph.
    pub graph: &'a mut Graph,
    /// The model.
    pub model: &'a mut Model,
    place: Place,
    names: Vec<String>,
    dropped: Option<Dropped>,
    world: World,
    one_loss: bool,
    one_norm: bool,
}

/// Residual branches that images leave out: the factors of all branches, and how many are given.
#[derive(Clone, Copy, Debug)]
struct Dropped {
    factors: TensorId,
    given: usize,
}

impl Deref for Net<'_> {
    type Target = Graph;
    fn deref(&self) -> &Graph {
        self.graph
    }
}

impl DerefMut for Net<'_> {
    fn deref_mut(&mut self) -> &mut Graph {
        self.graph
    }
}

impl<'a> Net<'a> {
    /// A context in f32, with batch norm over the whole batch.
    pub fn new(graph: &'a mut Graph, model: &'a mut Model, mode: Mode) -> Self {
        Self {
            graph,
            model,
            place: Place {
                mode,
                precision: Precision::F32,
                norm: Norm::default(),
                branch: Branch::Online,
                part: Part::Encoder,
                part_begins: 0,
                layer: 0,
                lr_multiplier: 1.0,
                trained: true,
                thawed: false,
                xavier: false,
            },
            names: Vec::new(),
            dropped: None,
            world: World::default(),
            one_loss: false,
            one_norm: false,
        }
    }

    /// The same for a rank of several. `one_loss`: a loss that couples the images of a batch is taken of the batch of
    /// all ranks.
    #[must_use]
    pub fn in_world(mut self, world: World, one_loss: bool) -> Self {
        (self.world, self.one_loss) = (world, one_loss);
        self
    }

    /// Batch norm takes the statistics of all ranks' images together (`model.sync_bn`).
    #[must_use]
    pub fn with_one_norm(mut self, one_norm: bool) -> Self {
        self.one_norm = one_norm;
        self
    }

    /// This rank among those that share the batch.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The ranks whose images have one loss together.
    pub fn shares_loss(&self) -> World {
        match self.one_loss {
            true => self.world.clone(),
            false => World::default(),
        }
    }

    /// The ranks whose images batch norm takes together, where there are several.
    pub fn shares_norm(&self) -> Option<World> {
        (self.one_norm && !self.world.is_alone()).then(|| self.world.clone())
    }

    /// The same in another precision.
    #[must_use]
    pub fn in_precision(mut self, precision: Precision) -> Self {
        self.place.precision = precision;
        self
    }

    fn at<T>(&mut self, change: impl FnOnce(&mut Place), build: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.place;
        change(&mut self.place);
        let out = build(self);
        self.place = before;
        out
    }

    /// Names what `build` declares under `name`, dot separated.
    pub fn scope<T>(&mut self, name: &str, build: impl FnOnce(&mut Self) -> T) -> T {
        self.names.push(name.to_string());
        let out = build(self);
        self.names.pop();
        out
    }

    /// What `build` declares belongs to a part of the model, under the part's prefix.
    pub fn part<T>(&mut self, part: Part, build: impl FnOnce(&mut Self) -> T) -> T {
        let prefix = part.prefix();
        let depth = self.names.len();
        if !prefix.is_empty() {
            self.names.push(prefix.to_string());
        }
        let begins = self.names.len();
        let out = self.at(|p| (p.part, p.part_begins) = (part, begins), build);
        self.names.truncate(depth);
        out
    }

    /// Numbers the layer of the part that `build` declares.
    pub fn layer<T>(&mut self, number: usize, build: impl FnOnce(&mut Self) -> T) -> T {
        self.at(|p| p.layer = number, build)
    }

    /// Puts a factor on the learning rate of what `build` declares.
    pub fn lr_multiplier<T>(&mut self, factor: f32, build: impl FnOnce(&mut Self) -> T) -> T {
        self.at(|p| p.lr_multiplier = factor, build)
    }

    /// What `build` declares is not trained: fixed position embeddings, MoCo v3's random patch projection.
    pub fn frozen<T>(&mut self, build: impl FnOnce(&mut Self) -> T) -> T {
        self.at(|p| p.trained = p.thawed, build)
    }

    /// What `build` declares is trained, though it says that it is fixed ([`Net::frozen`]): fine-tuning.
    pub fn thawed<T>(&mut self, build: impl FnOnce(&mut Self) -> T) -> T {
        self.at(|p| p.thawed = true, build)
    }

    /// Residual branches that `build` appends are weighted for each image (stochastic depth), in the order of their
    /// appending, by the rows of `factors` [1,branches,n]. Returns how many rows were taken too.
    ///
    /// Layers append their branches by [`Net::add_branch`], or have none.
    pub fn dropping<T>(
        &mut self,
        factors: TensorId,
        build: impl FnOnce(&mut Self) -> T,
    ) -> (T, usize) {
        let before = self.dropped.replace(Dropped { factors, given: 0 });
        let out = build(self);
        let taken = self.dropped.map_or(0, |d| d.given);
        self.dropped = before;
        (out, taken)
    }

    /// x + branch, both [n,..]; the branch weighted inside [`Net::dropping`].
    ///
    /// # Errors
    /// Shapes that do not fit; more branches than rows of factors.
    pub fn add_branch(&mut self, x: TensorId, branch: TensorId) -> Result<TensorId> {
        let Some(dropped) = &mut self.dropped else {
            return self.graph.add(x, branch);
        };
        let (factors, first) = (dropped.factors, dropped.given);
        dropped.given += 1;
        let n = self.graph.dims(factors)[2];
        let row = self
            .graph
            .push1(SliceTokens { first, count: 1 }, &[factors])?;
        let row = self.graph.reshape(row, [n])?;
        self.graph.push1(DropPath, &[x, branch, row])
    }

    /// Linear layers that `build` declares start as Xavier uniform with a bias of zero, and not as PyTorch's
    /// `nn.Linear` does: MAE's code starts every linear layer of a model so.
    pub fn xavier<T>(&mut self, build: impl FnOnce(&mut Self) -> T) -> T {
        self.at(|p| p.xavier = true, build)
    }

    /// Whether linear layers start as Xavier uniform here.
    pub fn is_xavier(&self) -> bool {
        self.place.xavier
    }

    /// Layers compute in f32, whatever the precision outside: losses and what belongs to them.
    pub fn full_precision<T>(&mut self, build: impl FnOnce(&mut Self) -> T) -> T {
        self.at(|p| p.precision = Precision::F32, build)
    }

    /// Batch norm takes its statistics in this way.
    pub fn with_norm<T>(&mut self, norm: Norm, build: impl FnOnce(&mut Self) -> T) -> T {
        self.at(|p| p.norm = norm, build)
    }

    /// Layers take the momentum copy's parameters ([`Model::make_momentum_copy`]).
    pub fn momentum<T>(&mut self, build: impl FnOnce(&mut Self) -> T) -> T {
        self.at(|p| p.branch = Branch::Momentum, build)
    }

    /// Running statistics stay as they are: for a pass whose batch another pass sees too.
    pub fn untracked<T>(&mut self, build: impl FnOnce(&mut Self) -> T) -> T {
        self.at(|p| p.norm.track = false, build)
    }

    /// What the graph is for.
    pub fn mode(&self) -> Mode {
        self.place.mode
    }

    /// What layers compute in.
    pub fn precision(&self) -> Precision {
        self.place.precision
    }

    /// How batch norm takes its statistics.
    pub fn norm(&self) -> Norm {
        self.place.norm
    }

    /// The name that a layer or variable `leaf` has at this place.
    pub fn name(&self, leaf: &str) -> String {
        let mut parts: Vec<&str> = self.names.iter().map(String::as_str).collect();
        parts.push(leaf);
        parts.join(".")
    }

    fn variable(&self, id: StateId, leaf: &str, init: Init, layout: Layout) -> Variable {
        let own = &self.names[self.place.part_begins.min(self.names.len())..];
        let mut file: Vec<&str> = own.iter().map(String::as_str).collect();
        file.push(leaf);
        Variable {
            id,
            name: self.name(leaf),
            part: self.place.part,
            file_name: file.join("."),
            layout,
            init,
            lr_multiplier: self.place.lr_multiplier,
            layer: self.place.layer,
            trained: self.place.trained,
        }
    }

    /// The parameter called `leaf` at this place: declared at first sight, shared afterwards.
    pub fn param(&mut self, leaf: &str, dims: &[usize], init: Init, layout: Layout) -> Var {
        let name = self.name(leaf);
        Var(self.model.states.find(PARAMS, &name).unwrap_or_else(|| {
            let ty = TensorType::f32(dims);
            let id = self.model.states.add(PARAMS, &name, ty);
            let v = self.variable(id, leaf, init, layout);
            self.model.params.push(v);
            id
        }))
    }

    /// The running statistic called `leaf` at this place, of `len` values that start as `value`.
    pub fn statistic(&mut self, leaf: &str, len: usize, value: f32) -> Var {
        let name = self.name(leaf);
        Var(self
            .model
            .states
            .find(STATISTICS, &name)
            .unwrap_or_else(|| {
                let ty = TensorType::f32([len]);
                let id = self.model.states.add(STATISTICS, &name, ty);
                let v = self.variable(id, leaf, Init::Constant(value), Layout::Plain);
                self.model.buffers.push(v);
                id
            }))
    }

    /// A variable's tensor in this graph: the momentum copy's on that branch.
    pub fn value(&mut self, var: Var) -> TensorId {
        let copy = self.model.states.counterpart(var.0, MOMENTUM_COPY);
        let parameter = self.model.states.group_of(var.0) == PARAMS;
        let id = match self.place.branch {
            Branch::Momentum if parameter => copy.unwrap_or(var.0),
            _ => var.0,
        };
        self.graph.state(&self.model.states, id)
    }

    /// The tensor of a variable that may be frozen: no gradient passes to it then.
    ///
    /// # Errors
    /// None is expected.
    pub fn value_if_trained(&mut self, var: Var) -> Result<TensorId> {
        let value = self.value(var);
        let trained = self.model.params.iter().any(|p| p.id == var.0 && p.trained);
        match self.place.mode {
            Mode::Train if !trained => self.stop_gradient(value),
            _ => Ok(value),
        }
    }

    /// A state's tensor in this graph.
    pub fn state(&mut self, id: StateId) -> TensorId {
        self.graph.state(&self.model.states, id)
    }

    /// Labels the nodes that `build` appends with a layer's name.
    pub fn labelled<T>(&mut self, name: &str, build: impl FnOnce(&mut Self) -> T) -> T {
        self.graph.enter(name);
        let out = build(self);
        self.graph.leave();
        out
    }
}
