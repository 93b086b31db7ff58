//! The optimiser as a graph of its own: gradients in, parameters updated, with clipping and a guard against non-finite gradients.

use super::config::Optim;
use super::{Config, Result, TrainError};
use crate::graph::{Executor, Graph, HostData, ProgramId, TensorId, TensorType};
use crate::nn::Model;
use crate::ops::accumulate::Accumulate;
use crate::ops::adamw::AdamW;
use crate::ops::lars_trust::LarsTrust;
use crate::ops::sgd::Sgd;
use crate::ops::sum_all::SumSquares;

/// Optimisers that `optim.name` may name.
pub const NAMES: &[&str] = &["sgd", "adamw", "lars"];

/// The compiled update.
#[derive(Clone, Debug)]
pub struct Optimizer {
    /// The program.
    pub program: ProgramId,
    /// Squared norm of the gradient [1].
    pub norm2: TensorId,
    segments: TensorId,
    table: TensorId,
}

/// Appends to a graph what adds the gradients of a model's parameters, in their order, to the group `grads`, which [`Optimizer::graph`] has made.
///
/// # Errors
/// Shapes that do not fit.
pub fn collect(g: &mut Graph, model: &Model, grads: &[Option<TensorId>]) -> Result<()> {
    for (p, d) in model.params.iter().zip(grads) {
        if let (Some(d), Some(id)) = (d, model.states.counterpart(p.id, "grads")) {
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
    /// A name that is none of [`NAMES`]; shapes.
    pub fn graph(o: &Optim, model: &mut Model) -> Result<(Graph, Self)> {
        let (len, _) = model.sizes();
        let grads = model.states.mirror("params", "grads");
        let halt = model.states.add("control", "halt", TensorType::u32([1]));
        let params = model
            .states
            .whole("params")
            .ok_or_else(|| TrainError::Config("a model without parameters".into()))?;
        let mut g = Graph::new();
        let grad = g.state(&model.states, grads);
        let norm2 = g.push1(SumSquares, &[grad])?;
        let segments = g.input("segments", TensorType::u32([len / 64]));
        let table = g.input("segment table", TensorType::f32([model.params.len(), 4]));
        let mut inputs = [grad, norm2, segments, table];
        match o.name.as_str() {
            "sgd" | "lars" => {
                let momentum = model.states.mirror("params", "momentum");
                let updates = [params, momentum, halt].map(|id| g.state(&model.states, id));
                if o.name == "lars" {
                    let eta = o.trust;
                    inputs[3] = g.push1(LarsTrust { eta }, &[grad, updates[0], segments, table])?;
                }
                let op = Sgd {
                    momentum: f64::from(o.momentum),
                    nesterov: o.nesterov,
                    max_norm: f64::from(o.clip),
                };
                g.push_updating(op, &inputs, &updates)?;
            }
            "adamw" => {
                let first = model.states.mirror("params", "moment1");
                let second = model.states.mirror("params", "moment2");
                let updates = [params, first, second, halt].map(|id| g.state(&model.states, id));
                let op = AdamW {
                    beta1: o.betas[0],
                    beta2: o.betas[1],
                    eps: o.eps,
                    max_norm: o.clip,
                };
                g.push_updating(op, &inputs, &updates)?;
            }
            other => {
                return Err(TrainError::Config(format!(
                    "no optimiser `{other}`; there are {}",
                    NAMES.join(", ")
                )));
            }
        }
        let optimizer = Self {
            program: ProgramId::default(),
            norm2,
            segments,
            table,
        };
        Ok((g, optimizer))
    }

    /// Compiles the graph that [`Optimizer::graph`] made, and sends what belongs to each parameter: learning-rate factor, weight decay, LARS's exclusion.
    ///
    /// # Errors
    /// Memory, shaders.
    pub fn compile(
        mut self,
        g: &Graph,
        config: &Config,
        model: &Model,
        exec: &mut dyn Executor,
    ) -> Result<Self> {
        let o = &config.optim;
        self.program = exec.compile(g, &[self.norm2])?;
        let (len, _) = model.sizes();
        let mut segments = vec![0u32; len / 64];
        let mut rows = Vec::new();
        for (i, p) in model.params.iter().enumerate() {
            let e = model.states.entry(p.id);
            segments[e.offset / 64..(e.offset + e.ty.elements()).div_ceil(64)].fill(i as u32);
            // Biases and normalisation. LARS leaves them out of adaptation and decay (Goyal et al. 2017; SimCLR).
            let vector = e.name.ends_with("bias") || e.ty.dims().len() == 1;
            let lars = o.name == "lars";
            let plain = vector && (lars || o.exclude_bias_and_norm);
            let decay = if plain { 0.0 } else { o.weight_decay };
            let trust = if lars && vector { -1.0 } else { 0.0 };
            rows.extend([p.lr_multiplier, decay, trust, 0.0]);
        }
        exec.upload(self.program, self.segments, &HostData::U32(segments))?;
        exec.upload(self.program, self.table, &HostData::F32(rows))?;
        Ok(self)
    }
}
