//! The optimiser as a graph of its own: gradients in, parameters updated, with clipping and a guard against
//! non-finite gradients.

use super::{Result, TrainError};
use crate::config::{Decays, OPTIMISERS, Optim, TrustNorm};
use crate::graph::state::Group;
use crate::graph::{Executor, Graph, HostData, ProgramId, StateId, TensorId, TensorType};
use crate::nn::model::PARAMS;
use crate::nn::{Init, Model, Part, Variable};
use crate::ops::accumulate::Accumulate;
use crate::ops::adamw::AdamW;
use crate::ops::lars_trust::LarsTrust;
use crate::ops::loss_scale::LossScale;
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
    for (p, d) in model.params.iter().zip(grads) {
        if let (Some(d), Some(id)) = (d, model.states.counterpart(p.id, GRADS)) {
            if delivery == Delivery::Written && g.write_into(*d, &model.states, id) {
                continue;
            }
            let acc = g.state(&model.states, id);
            g.push_updating(Accumulate, &[*d], &[acc])?;
        }
    }
    Ok(())
}

impl Optimizer {
    /// Declares gradients, moments and the guard in `model`, and appends the update of all parameters.
    ///
    /// # Errors
    /// A name that is none of [`OPTIMISERS`]; shapes.
    pub fn graph(o: &Optim, model: &mut Model) -> Result<(Graph, Self)> {
        let (len, _) = model.sizes();
        let grads = model.states.mirror(PARAMS, GRADS);
        let halt = model.states.add(CONTROL, "halt", TensorType::u32([1]));
        let params = model
            .states
            .whole(PARAMS)
            .ok_or_else(|| TrainError::Config("a model without parameters".into()))?;
        let mut g = Graph::new();
        let grad = g.state(&model.states, grads);
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
