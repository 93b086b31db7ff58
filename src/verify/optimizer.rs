//! Kind `optimizer`: AdamW and LARS on given gradients, `param.*` to `adamw.*` and `lars.*`; `config` has steps and the
//! settings of both.

use super::judge::Judge;
use super::network::{compare_group, narrow};
use super::{Computer, Result, Subject, Verified};
use crate::config::{Decays, Optim, TrustNorm};
use crate::fixture::{Fixture, bad};
use crate::graph::{Graph, HostData, StepScalars};
use crate::nn::model::{Init, Layout, PARAMS};
use crate::nn::{Mode, Model, Net};
use crate::train::optimizer::{GRADS, Optimizer, table};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    steps: usize,
    adamw: Option<AdamW>,
    lars: Option<Lars>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdamW {
    lr: f64,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lars {
    lr: f64,
    momentum: f64,
    weight_decay: f64,
    trust: f64,
}

impl AdamW {
    fn optim(&self) -> Result<Optim> {
        Ok(Optim {
            name: "adamw".into(),
            betas: [
                narrow("adamw.betas", self.betas[0])?,
                narrow("adamw.betas", self.betas[1])?,
            ],
            eps: narrow("adamw.eps", self.eps)?,
            weight_decay: narrow("adamw.weight_decay", self.weight_decay)?,
            decay: Decays::NoVectors,
            clip: 0.0,
            ..Optim::default()
        })
    }
}

impl Lars {
    fn optim(&self) -> Result<Optim> {
        Ok(Optim {
            name: "lars".into(),
            momentum: narrow("lars.momentum", self.momentum)?,
            nesterov: false,
            weight_decay: narrow("lars.weight_decay", self.weight_decay)?,
            trust: narrow("lars.trust", self.trust)?,
            trust_norm: TrustNorm::Step,
            clip: 0.0,
            ..Optim::default()
        })
    }
}

/// Parameters of the file: name and shape.
fn parameters(f: &Fixture) -> Result<Vec<(String, Vec<usize>)>> {
    let all = f.tensors.iter().filter_map(|(name, stored)| {
        let name = name.strip_prefix("param.")?;
        Some((name.to_string(), stored.shape.clone()))
    });
    let all: Vec<_> = all.collect();
    match all
        .iter()
        .find(|(_, shape)| shape.is_empty() || shape.contains(&0))
    {
        Some((name, _)) => Err(bad(format!("`param.{name}` has no values or no axes")).into()),
        None if all.is_empty() => Err(bad("there is no parameter `param.*`").into()),
        None => Ok(all),
    }
}

/// Steps from the file's start with its gradients, and the comparison with what stands under `name`.
fn run(
    (f, judge): (&Fixture, &mut Judge<'_>),
    computer: &Computer,
    (name, o, lr, steps): (&str, Optim, f64, usize),
) -> Result<()> {
    let (mut unused, mut model) = (Graph::new(), Model::default());
    let mut net = Net::new(&mut unused, &mut model, Mode::Train);
    let exec = &mut *computer.executor();
    let parameters = parameters(f)?;
    for (name, shape) in &parameters {
        net.param(name, shape, Init::Constant(0.0), Layout::Plain);
    }
    let failed = |e: crate::train::TrainError| bad(e.to_string());
    let (g, optimizer) = Optimizer::graph(&o, &mut model).map_err(failed)?;
    exec.allocate_states(&model.states)?;
    // The rate stands in the table, where f64 keeps all its digits.
    let mut rows = table(&o, &[], &model);
    rows.iter_mut().for_each(|row| row[0] *= lr);
    let program = optimizer
        .compile_table(&g, &rows, &model, exec)
        .map_err(failed)?
        .program;
    for (p, (name, shape)) in model.params.iter().zip(&parameters) {
        let start = f.reals(&format!("param.{name}"), shape)?.to_vec();
        exec.write_state(&model.states, p.id, &HostData::F64(start))?;
        judge.read(format!("param.{name}"));
        judge.read(format!("grads.{name}"));
    }
    for step in 0..steps {
        for (p, (name, shape)) in model.params.iter().zip(&parameters) {
            let all = f.reals(&format!("grads.{name}"), &[&[steps], &shape[..]].concat())?;
            let each = all.len() / steps;
            let id = model
                .states
                .counterpart(p.id, GRADS)
                .ok_or_else(|| bad("no gradients"))?;
            let part = all[step * each..(step + 1) * each].to_vec();
            exec.write_state(&model.states, id, &HostData::F64(part))?;
        }
        let scalars = StepScalars {
            step: step as u32,
            lr: 1.0,
            ..StepScalars::default()
        };
        exec.run(program, &scalars)?;
    }
    compare_group(judge, &model, exec, (PARAMS, 0.0), |p| {
        Some(format!("{name}.{}", p.name))
    })
}

pub(super) fn verify(subject: &Subject, computer: &Computer) -> Result<Verified> {
    let f = &subject.fixture;
    let s: Settings = f.config(&["seed"])?;
    let mut judge = Judge::new(f, computer.grade());
    if s.steps == 0 {
        return Err(bad("config.steps is 0").into());
    }
    if let Some(o) = &s.adamw {
        run(
            (f, &mut judge),
            computer,
            ("adamw", o.optim()?, o.lr, s.steps),
        )?;
    }
    if let Some(o) = &s.lars {
        run(
            (f, &mut judge),
            computer,
            ("lars", o.optim()?, o.lr, s.steps),
        )?;
    }
    judge.finish()
}
