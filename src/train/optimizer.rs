//! The optimiser as a graph of its own: gradients in, parameters updated, with clipping and a guard against
//! non-finite gradients.

use super::{Result, TrainError};
use crate::comm::{Underway, World};
use crate::config::{Decays, OPTIMISERS, Optim, TrustNorm};
use crate::graph::state::Group;
use crate::graph::{Executor, Graph, HostData, ProgramId, StateId, States, TensorId, TensorType};
use crate::nn::model::{PARAMS, STATISTICS};
use crate::nn::{Init, Model, Part, Variable};
use crate::ops::accumulate::Accumulate;
use crate::ops::adamw::AdamW;
use crate::ops::begin_mean_of_ranks::BeginMeanOfRanks;
use crate::ops::end_mean_of_ranks::EndMeanOfRanks;
use crate::ops::from_owners::FromOwners;
use crate::ops::lars_trust::LarsTrust;
use crate::ops::loss_scale::LossScale;
use crate::ops::mean_of_ranks::MeanOfRanks;
use crate::ops::sgd::Sgd;
use crate::ops::sum_all::SumSquares;
use crate::ops::unscale::Unscale;
use crate::settings::Numbers;

/// The compiled update.
#[derive(Clone, Debug)]
pub struct Optimizer {
    /// The program.
    pub program: ProgramId,
    /// Squared norm of the gradient [1].
    pub norm2: TensorId,
    /// With mixed precision: the loss scale [1] after the step, and the latch that is set when a step cannot be
    /// repaired by a smaller one.
    pub scaling: Option<[TensorId; 2]>,
    segments: TensorId,
    table: TensorId,
}

/// Group of what dynamic loss scaling keeps.
pub const SCALING: Group = Group::saved("loss_scaling");

/// Group of the loss that it looks at: of its own, since a kernel that writes a buffer may not read it under another
/// name.
const LOSS: Group = Group::saved("scaled_loss");
/// Group of the gradients.
pub const GRADS: Group = Group::saved("grads");
/// Group of the momentum of SGD and LARS.
pub const MOMENTUM: Group = Group::saved("momentum");
/// Groups of AdamW's moments.
pub const MOMENTS: [Group; 2] = [Group::saved("moment1"), Group::saved("moment2")];
/// Group of the latch that stops the optimiser.
const CONTROL: Group = Group::saved("control");

/// The loss scale starts at 2^16 and doubles after 2,000 good steps, as PyTorch's `GradScaler`.
const FIRST_SCALE: f32 = 65536.0;
const INTERVAL: u32 = 2000;

/// The loss scale of mixed precision, declared at first sight.
pub fn scale(model: &mut Model) -> StateId {
    let mut declare = |name, value| {
        let init = Init::Constant(value);
        model.state(SCALING, name, TensorType::f32([1]), init)
    };
    let scale = declare("scale", FIRST_SCALE);
    declare("good", 0.0);
    declare("skipped", 0.0);
    scale
}

/// The loss of a program, where mixed precision keeps it ([`kept_loss`]).
pub const WHOLE: &str = "loss";
/// The loss of micro-batches by themselves, beside that of the whole batch.
pub const OWN: &str = "own loss";

/// Where mixed precision keeps a step's loss on the device ([`WHOLE`], [`OWN`]), declared at first sight as the
/// [`scale`].
pub fn kept_loss(model: &mut Model, name: &str) -> StateId {
    let init = Init::Constant(0.0);
    model.state(LOSS, name, TensorType::f32([1]), init)
}

/// How a program's gradients come to the optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// One run of one program makes them all, so its nodes write them where the optimiser reads them.
    Written,
    /// Several runs of a step make parts of them: each run's are scaled and added ([`Accumulate`]).
    Accumulated,
}

/// Brings the gradients of a model's parameters, in their order, into the group `grads`, which [`Optimizer::graph`]
/// has made.
///
/// # Errors
/// Shapes that do not fit.
pub fn collect(
    g: &mut Graph,
    model: &Model,
    grads: &[Option<TensorId>],
    delivery: Delivery,
) -> Result<()> {
    collect_for(g, model, grads, (delivery, &Exchange::default()))
}

/// As [`collect`], of a rank that averages its gradients with others.
///
/// # Errors
/// As [`collect`].
pub fn collect_for(
    g: &mut Graph,
    model: &Model,
    grads: &[Option<TensorId>],
    (delivery, exchange): (Delivery, &Exchange),
) -> Result<()> {
    let mut places = Vec::new();
    for (p, d) in model.params.iter().zip(grads) {
        if let (Some(d), Some(id)) = (d, model.states.counterpart(p.id, GRADS)) {
            places.push((model.states.entry(id).offset, *d));
            if delivery == Delivery::Written && g.write_into(*d, &model.states, id) {
                continue;
            }
            let acc = g.state(&model.states, id);
            g.push_updating(Accumulate, &[*d], &[acc])?;
        }
    }
    match exchange.underway(delivery) {
        Some(underway) => begin(g, exchange, underway, &places),
        None => Ok(()),
    }
}

/// How gradients come to the other ranks.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// This rank among the others.
    pub world: World,
    /// Bytes of a bucket.
    pub bucket: usize,
    /// What a rank's gradient counts, 1 / ranks.
    pub share: f64,
    /// What is under way.
    pub underway: Underway,
    /// The devices may round an update differently: each rank gives the others its piece of what it updated.
    pub owners: bool,
    /// Running statistics are those of all ranks' images already (`model.sync_bn`).
    pub one_norm: bool,
}

impl Exchange {
    /// What is under way, where gradients go while the backward pass goes on: one run makes them all.
    fn underway(&self, delivery: Delivery) -> Option<&Underway> {
        let once = delivery == Delivery::Written && !self.world.is_alone();
        once.then_some(&self.underway)
    }
}

impl Exchange {
    /// Appends that a group of states is taken from its owners, where devices are unlike.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn own(
        &self,
        g: &mut Graph,
        states: &States,
        what: &'static str,
        group: Group,
    ) -> Result<()> {
        if let (true, Some(id)) = (self.owners && !self.world.is_alone(), states.whole(group)) {
            let x = g.state(states, id);
            let world = self.world.clone();
            g.push_updating(FromOwners { world, what }, &[], &[x])?;
        }
        Ok(())
    }
}

/// Appends the nodes that begin to average gradients, bucket by bucket: those of the last parameters first, since the
/// backward pass begins there.
fn begin(
    g: &mut Graph,
    exchange: &Exchange,
    underway: &Underway,
    places: &[(usize, TensorId)],
) -> Result<()> {
    let mut left = places;
    let mut most = exchange.bucket / 4;
    while !left.is_empty() {
        let (mut bytes, mut from) = (0, left.len());
        while from > 0 && (bytes == 0 || bytes < most) {
            from -= 1;
            bytes += g.ty(left[from].1).bytes();
        }
        let (before, bucket) = left.split_at(from);
        let (at, tensors): (Vec<usize>, Vec<TensorId>) = bucket.iter().copied().unzip();
        let op = BeginMeanOfRanks {
            world: exchange.world.clone(),
            underway: underway.clone(),
            places: at,
            share: exchange.share,
        };
        g.push(op, &tensors)?;
        (left, most) = (before, exchange.bucket);
    }
    Ok(())
}

impl Optimizer {
    /// Declares gradients, moments and the guard in `model`, and appends the update of all parameters.
    ///
    /// # Errors
    /// A name that is none of [`OPTIMISERS`]; shapes.
    pub fn graph(o: &Optim, model: &mut Model) -> Result<(Graph, Self)> {
        Self::of_rank(o, model, (Delivery::Written, &Exchange::default()))
    }

    /// As [`Optimizer::graph`], for a rank of several. What ranks have each for themselves becomes its mean first:
    /// gradients, running statistics, the loss that mixed precision looks at. So all of them make the same step, and
    /// hold the same.
    ///
    /// # Errors
    /// As [`Optimizer::graph`].
    pub fn of_rank(
        o: &Optim,
        model: &mut Model,
        exchange: (Delivery, &Exchange),
    ) -> Result<(Graph, Self)> {
        let (len, _) = model.sizes();
        let grads = model.states.mirror(PARAMS, GRADS);
        let halt = model.states.add(CONTROL, "halt", TensorType::u32([1]));
        let params = model
            .states
            .whole(PARAMS)
            .ok_or_else(|| TrainError::Config("a model without parameters".into()))?;
        let mut g = Graph::new();
        let grad = g.state(&model.states, grads);
        average(&mut g, model, exchange, grads)?;
        let scaling = ["scale", "good", "skipped"].map(|n| model.states.find(SCALING, n));
        let losses = [WHOLE, OWN].map(|name| model.states.find(LOSS, name));
        if let [Some(scale), ..] = scaling {
            let scale = g.state(&model.states, scale);
            g.push_updating(Unscale, &[scale], &[grad])?;
        }
        let norm2 = g.push1(SumSquares, &[grad])?;
        let segments = g.input("segments", TensorType::u32([len / 64]));
        let table = g.input("segment table", TensorType::f32([model.params.len(), 4]));
        let mut inputs = [grad, norm2, segments, table];
        match o.name.as_str() {
            "sgd" | "lars" => {
                let momentum = model.states.mirror(PARAMS, MOMENTUM);
                let updates = [params, momentum, halt].map(|id| g.state(&model.states, id));
                if o.name == "lars" {
                    let op = LarsTrust {
                        eta: o.trust,
                        of_step: o.trust_norm == TrustNorm::Step,
                    };
                    inputs[3] = g.push1(op, &[grad, updates[0], segments, table])?;
                }
                let op = Sgd {
                    momentum: written(o.momentum),
                    nesterov: o.nesterov,
                    max_norm: f64::from(o.clip),
                };
                g.push_updating(op, &inputs, &updates)?;
            }
            "adamw" => {
                let [first, second] = MOMENTS.map(|group| model.states.mirror(PARAMS, group));
                let updates = [params, first, second, halt].map(|id| g.state(&model.states, id));
                let op = AdamW {
                    beta1: written(o.betas[0]),
                    beta2: written(o.betas[1]),
                    eps: written(o.eps),
                    max_norm: o.clip,
                };
                g.push_updating(op, &inputs, &updates)?;
            }
            other => {
                return Err(TrainError::Config(format!(
                    "no optimiser `{other}`; there are {}",
                    OPTIMISERS.join(", ")
                )));
            }
        }
        exchange
            .1
            .own(&mut g, &model.states, "parameters", PARAMS)?;
        let scaling = match scaling {
            [Some(scale), Some(good), Some(skipped)] => {
                let interval = INTERVAL;
                let mut kept = losses.into_iter().flatten();
                let first = kept
                    .next()
                    .ok_or_else(|| TrainError::Config("a loss scale without a loss".into()))?;
                let mut loss = g.state(&model.states, first);
                for own in kept {
                    let own = g.state(&model.states, own);
                    loss = g.add(loss, own)?;
                }
                let updates = [scale, good, skipped, halt].map(|id| g.state(&model.states, id));
                g.push_updating(LossScale { interval }, &[norm2, loss], &updates)?;
                Some([updates[0], updates[3]])
            }
            _ => None,
        };
        let optimizer = Self {
            program: ProgramId::default(),
            norm2,
            scaling,
            segments,
            table,
        };
        Ok((g, optimizer))
    }

    /// What can be read after a step: the squared norm, and the scaling's tensors.
    pub fn fetched(&self) -> Vec<TensorId> {
        let scaling = self.scaling.into_iter().flatten();
        std::iter::once(self.norm2).chain(scaling).collect()
    }

    /// Compiles the graph that [`Optimizer::graph`] made, and sends what belongs to each parameter ([`table`]).
    ///
    /// # Errors
    /// Memory, shaders.
    pub fn compile(
        self,
        g: &Graph,
        o: &Optim,
        scales: &[f64],
        model: &Model,
        exec: &mut dyn Executor,
    ) -> Result<Self> {
        self.compile_table(g, &table(o, scales, model), model, exec)
    }

    /// As [`Optimizer::compile`], with a table that the caller has.
    ///
    /// # Errors
    /// Memory, shaders.
    pub fn compile_table(
        mut self,
        g: &Graph,
        table: &[[f64; 4]],
        model: &Model,
        exec: &mut dyn Executor,
    ) -> Result<Self> {
        self.program = exec.compile(g, &self.fetched())?;
        let (len, _) = model.sizes();
        let mut segments = vec![0u32; len / 64];
        for (i, p) in model.params.iter().enumerate() {
            let e = model.states.entry(p.id);
            segments[e.offset / 64..(e.offset + e.ty.elements()).div_ceil(64)].fill(i as u32);
        }
        exec.upload(self.program, self.segments, &HostData::U32(segments))?;
        exec.upload(self.program, self.table, &HostData::F64(table.concat()))?;
        Ok(self)
    }
}

/// The mean over the ranks of all that each has for itself.
fn average(
    g: &mut Graph,
    model: &Model,
    (delivery, exchange): (Delivery, &Exchange),
    grads: StateId,
) -> Result<()> {
    let world = &exchange.world;
    if world.is_alone() {
        return Ok(());
    }
    let states = &model.states;
    let x = g.state(states, grads);
    match exchange.underway(delivery) {
        Some(underway) => {
            let op = EndMeanOfRanks {
                world: world.clone(),
                underway: underway.clone(),
            };
            g.push_updating(op, &[], &[x])?;
        }
        None => {
            let op = MeanOfRanks {
                world: world.clone(),
                what: "gradient",
                share: exchange.share,
            };
            g.push_updating(op, &[], &[x])?;
        }
    }
    // Unlike devices round the same statistics differently.
    let apart = !exchange.one_norm || exchange.owners;
    let own = [
        (
            "running statistics",
            states.whole(STATISTICS).filter(|_| apart),
        ),
        ("loss", states.whole(LOSS)),
    ];
    for (what, id) in own {
        let Some(id) = id else { continue };
        let x = g.state(states, id);
        let op = MeanOfRanks {
            world: world.clone(),
            what,
            share: 1.0 / world.ranks() as f64,
        };
        g.push_updating(op, &[], &[x])?;
    }
    Ok(())
}

/// What belongs to each parameter: learning-rate factor, weight decay, LARS's exclusion (negative), 0. `scales` are
/// factors by layer of the encoder ([`Optim::layer_scales`]), the last one of all other parts too; empty: 1.
pub fn table(o: &Optim, scales: &[f64], model: &Model) -> Vec<[f64; 4]> {
    let row = |p: &Variable| {
        let (vector, lars) = (is_vector(model, p), o.name == "lars");
        let decay = match decays(o, model, p) {
            true => written(o.weight_decay),
            false => 0.0,
        };
        // LARS leaves biases and normalisation out of adaptation (Goyal et al. 2017; SimCLR).
        let trust = if lars && vector { -1.0 } else { 0.0 };
        let own = if vector { written(o.vectors_rate) } else { 1.0 };
        let rate = match p.trained {
            true => f64::from(p.lr_multiplier) * layer_scale(scales, p) * own,
            false => 0.0,
        };
        [rate, decay, trust, 0.0]
    };
    model.params.iter().map(row).collect()
}

/// A setting as it is written, 0.9 for the f32 next to it: f64 computes with all its digits, f32 with the same f32.
fn written(value: f32) -> f64 {
    value.numbers()[0]
}

/// Is it a bias, or a parameter of a normalisation?
fn is_vector(model: &Model, p: &Variable) -> bool {
    p.name.ends_with("bias") || model.dims(p).len() == 1
}

/// Does a parameter have weight decay?
fn decays(o: &Optim, model: &Model, p: &Variable) -> bool {
    let place = || {
        let leaf = p.file_name.rsplit('.').next().unwrap_or_default();
        ["cls_token", "pos_embed", "mask_token"].contains(&leaf)
    };
    match (o.name.as_str(), o.decay) {
        ("lars", Decays::All) | (_, Decays::NoVectors) => !is_vector(model, p),
        (_, Decays::NoTokens) => !is_vector(model, p) && !place(),
        (_, Decays::All) => true,
    }
}

/// The factor on a parameter's learning rate, of those by layer of the encoder.
fn layer_scale(scales: &[f64], p: &Variable) -> f64 {
    let last = scales.last().copied().unwrap_or(1.0);
    match p.part {
        Part::Encoder => scales.get(p.layer).copied().unwrap_or(last),
        _ => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::method::declare;

    /// Biases and normalisation have a factor of their own, and all other parameters none of it.
    #[test]
    fn vectors_have_a_rate_of_their_own() {
        let of = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(ToString::to_string).collect();
            let config = Config::parse("", &set).unwrap();
            let model = declare(&config).unwrap();
            let rows = table(&config.optim, &[], &model);
            let vectors = model.params.iter().map(|p| is_vector(&model, p)).collect();
            (rows, vectors)
        };
        let (one, vectors): (Vec<[f64; 4]>, Vec<bool>) = of(&["optim.name=lars"]);
        let (own, _) = of(&["optim.name=lars", "optim.vectors_rate=0.024"]);
        assert!(vectors.contains(&true) && vectors.contains(&false));
        for ((a, b), vector) in one.iter().zip(&own).zip(vectors) {
            let factor = if vector { 0.024 } else { 1.0 };
            assert_eq!((b[0], &b[1..]), (a[0] * factor, &a[1..]));
        }
    }
}
