//! Kinds `vit_network_{init,io,grads,after}`: a Vision Transformer's features, a loss of them, its gradients, and some
//! steps of AdamW, by the encoder and the optimiser that train.

use super::judge::{Judge, Quantity, distance, without_key_bias};
use super::network::{compare_group, images, in_file, load, narrow, vit, weights};
use super::{Computer, Grade, Result, Subject, Verified};
use crate::config::{Decays, Optim};
use crate::fixture::{Fixture, bad};
use crate::graph::host::HostExecutor;
use crate::graph::{Executor, Graph, HostData, StepScalars, TensorId, TensorType};
use crate::methods::loss::evaluate::Array;
use crate::nn::backbones::vit::{Positions, Vit, mean_behind_class};
use crate::nn::import::Named;
use crate::nn::{Mode, Model, Net};
use crate::ops;
use crate::ops::slice_tokens::SliceTokens;
use crate::reference::philox::{Purpose, Stream};
use crate::train::optimizer::{self, Delivery, GRADS, Optimizer};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    img: usize,
    patch: usize,
    dim: usize,
    depth: usize,
    heads: usize,
    mlp_ratio: f32,
    #[serde(rename = "B")]
    batch: usize,
    pos: Positions,
    steps: usize,
    lr: f64,
    betas: [f64; 2],
    #[serde(default = "adams")]
    eps: f64,
    weight_decay: f64,
    no_decay: Rule,
    layer_decay: Option<f64>,
    /// Parameters without decay, and factors on their rates, as the maker had them.
    no_decay_names: Option<Vec<String>>,
    lr_scale: Option<BTreeMap<String, f64>>,
    frozen: Option<Vec<String>>,
    ln_eps: Option<f64>,
    qkv_bias: Option<bool>,
    activation: Option<String>,
}

fn adams() -> f64 {
    1e-8
}

/// What has no weight decay.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rule {
    Ndim,
    Tokens,
}

/// Keys of `config` that describe.
const DESCRIBED: &[&str] = &["seed", "loss", "features", "adamw"];

impl Settings {
    fn read(f: &Fixture) -> Result<Self> {
        let s: Self = f.config(DESCRIBED)?;
        let said = |key: &str, same: bool, ours: &str| match same {
            true => Ok(()),
            false => Err(bad(format!("config.{key}: only {ours} can be computed"))),
        };
        said("ln_eps", s.ln_eps.is_none_or(|e| e == 1e-6), "1e-6")?;
        said("qkv_bias", s.qkv_bias != Some(false), "true")?;
        let exact = s.activation.as_deref().is_none_or(|a| a == "gelu erf");
        said("activation", exact, "\"gelu erf\"")?;
        said(
            "steps",
            s.steps > 0 && s.batch > 0,
            "one and more of one image and more",
        )?;
        Ok(s)
    }

    fn vit(&self) -> Result<Vit> {
        let frozen = self.frozen.iter().flatten();
        let patches = frozen.clone().any(|n| n.starts_with("patch_embed."));
        let encoder = vit(
            [self.img, self.patch, self.dim, self.depth, self.heads],
            self.mlp_ratio,
            self.pos,
        )?;
        Ok(Vit {
            frozen_patches: patches,
            ..encoder
        })
    }

    fn optim(&self) -> Result<Optim> {
        Ok(Optim {
            name: "adamw".into(),
            betas: [
                narrow("betas", self.betas[0])?,
                narrow("betas", self.betas[1])?,
            ],
            eps: narrow("eps", self.eps)?,
            weight_decay: narrow("weight_decay", self.weight_decay)?,
            decay: match self.no_decay {
                Rule::Ndim => Decays::NoVectors,
                Rule::Tokens => Decays::NoTokens,
            },
            layer_decay: narrow("layer_decay", self.layer_decay.unwrap_or(1.0))?,
            clip: 0.0,
            ..Optim::default()
        })
    }
}

/// The network with its loss, and the update, on an executor.
struct Trial {
    model: Model,
    train: crate::graph::ProgramId,
    images: TensorId,
    /// Tokens, class token, mean of the normed, norm of the mean.
    features: [(&'static str, TensorId); 4],
    loss: TensorId,
    update: crate::graph::ProgramId,
    /// What the optimiser has for each parameter: factor on the rate, decay, two more.
    table: Vec<[f64; 4]>,
}

/// Names of the features in the file.
const FEATURES: [&str; 3] = ["cls", "mean_norm", "norm_mean"];

impl Trial {
    fn new(exec: &mut dyn Executor, s: &Settings, io: &Fixture) -> Result<Self> {
        let encoder = s.vit()?;
        let (mut model, mut g) = (Model::default(), Graph::new());
        let (b, d) = (s.batch, s.dim);
        let images = g.input("images", TensorType::f32([b, s.img, s.img, 3]));
        let weights = FEATURES.map(|name| g.input(name, TensorType::f32([b, d])));
        let mut net = Net::new(&mut g, &mut model, Mode::Train);
        let layers = encoder.declare(&mut net);
        let x = layers.embed(&mut net, images)?;
        let raw = layers.through_blocks(&mut net, x)?;
        let tokens = layers.norm(&mut net, raw)?;
        let first = net.push1(SliceTokens { first: 0, count: 1 }, &[tokens])?;
        let class = net.reshape(first, [b, d])?;
        let mean_norm = mean_behind_class(&mut net, tokens)?;
        let mean = mean_behind_class(&mut net, raw)?;
        let norm_mean = layers.norm(&mut net, mean)?;
        let mut sum = None;
        for (feature, weight) in [class, mean_norm, norm_mean].into_iter().zip(weights) {
            let product = net.mul(feature, weight)?;
            sum = Some(match sum {
                Some(sum) => net.add(sum, product)?,
                None => product,
            });
        }
        let sum = sum.ok_or_else(|| bad("no features"))?;
        let loss = g.scaled_sum(sum, 1.0 / b as f64)?;

        let params: Vec<TensorId> = model
            .params
            .iter()
            .map(|p| g.state(&model.states, p.id))
            .collect();
        let gradients = ops::backward(&mut g, loss, &params)?;
        let o = s.optim()?;
        let failed = |e: crate::train::TrainError| bad(e.to_string());
        let (u, optimizer) = Optimizer::graph(&o, &mut model).map_err(failed)?;
        optimizer::collect(&mut g, &model, &gradients, Delivery::Written).map_err(failed)?;
        let scales = o.layer_scales(&encoder).map_err(|e| bad(e.to_string()))?;
        let table = optimizer::table(&o, &scales, &model);
        let features = [
            ("tokens", tokens),
            ("cls", class),
            ("mean_norm", mean_norm),
            ("norm_mean", norm_mean),
        ];

        exec.allocate_states(&model.states)?;
        let mut fetched: Vec<TensorId> = features.iter().map(|f| f.1).collect();
        fetched.push(loss);
        let train = exec.compile(&g, &fetched)?;
        // The rate stands in the table, where f64 keeps all its digits.
        let rows: Vec<[f64; 4]> = table
            .iter()
            .map(|[rate, rest @ ..]| [s.lr * rate, rest[0], rest[1], rest[2]])
            .collect();
        let optimizer = optimizer
            .compile_table(&u, &rows, &model, exec)
            .map_err(failed)?;
        for (name, id) in FEATURES.iter().zip(weights) {
            let values = io.reals(&format!("coef.{name}"), &[b, d])?.to_vec();
            exec.upload(train, id, &HostData::F64(values))?;
        }
        Ok(Self {
            model,
            train,
            images,
            features,
            loss,
            update: optimizer.program,
            table,
        })
    }

    /// What the maker says of the groups of parameters, beside what the optimiser has.
    fn compare_groups(&self, judge: &mut Judge<'_>, s: &Settings) -> Result<()> {
        let trained = self
            .model
            .params
            .iter()
            .zip(&self.table)
            .filter(|(p, _)| p.trained);
        if let Some(names) = &s.no_decay_names {
            let without = trained.clone().filter(|(_, row)| row[1] == 0.0);
            let ours: Vec<&String> = without.map(|(p, _)| &p.name).collect();
            let missing = names.iter().filter(|n| !ours.contains(n)).count();
            let beyond = ours.iter().filter(|n| !names.contains(n)).count();
            judge.differing("config.no_decay_names", missing + beyond);
        }
        if let Some(scales) = &s.lr_scale {
            let mut pairs = (Vec::new(), Vec::new());
            for (p, row) in trained {
                let want = scales.get(&p.name);
                let want =
                    want.ok_or_else(|| bad(format!("config.lr_scale lacks `{}`", p.name)))?;
                pairs.0.push(row[0]);
                pairs.1.push(*want);
            }
            judge.add("config.lr_scale", distance(&pairs.0, &pairs.1), 1e-10);
        }
        if let Some(frozen) = &s.frozen {
            let fixed = self.model.params.iter().filter(|p| !p.trained);
            let fixed: Vec<&String> = fixed.map(|p| &p.name).collect();
            if let Some(name) = frozen.iter().find(|n| !fixed.contains(n)) {
                return Err(bad(format!("config.frozen has `{name}`, which trains here")).into());
            }
        }
        Ok(())
    }
}

/// What the steps make: the losses, and every parameter in the layout of files.
struct Steps {
    losses: Vec<f64>,
    after: Vec<(String, Array)>,
}

/// Runs the steps of a file from `start`; `first` is called behind the first pass, before its update.
fn steps(
    (trial, exec): (&Trial, &mut dyn Executor),
    (s, io): (&Settings, &Fixture),
    start: &Named,
    mut first: impl FnMut(&mut dyn Executor) -> Result<()>,
) -> Result<Steps> {
    let (model, n) = (&trial.model, s.batch);
    load(model, exec, start)?;
    let mut losses = Vec::new();
    for step in 0..s.steps {
        let batch = images(io, "batches", step * n, n)?;
        exec.upload(trial.train, trial.images, &batch)?;
        let scalars = StepScalars {
            step: step as u32,
            lr: 1.0,
            ..StepScalars::default()
        };
        exec.run(trial.train, &scalars)?;
        if step == 0 {
            first(exec)?;
        }
        losses.extend(exec.fetch(trial.train, trial.loss)?.to_f64());
        exec.run(trial.update, &scalars)?;
    }
    let mut after = Vec::new();
    for p in &model.params {
        let values = exec.read_state(&model.states, p.id)?.to_f64();
        after.push((p.name.clone(), in_file(model, p, values)));
    }
    Ok(Steps { losses, after })
}

/// How far the reference's own results move where its first weights are moved by as much as a few roundings of f32
/// (2^-22, relative): of every loss and every parameter, the largest of some draws. AdamW divides a gradient by its
/// size, so an entry whose gradient is within rounding of zero may move by all of the learning rate, either way.
fn spread(
    s: &Settings,
    io: &Fixture,
    start: &Named,
    plain: &Steps,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut of_losses = vec![0f64; plain.losses.len()];
    let mut of_after = vec![0f64; plain.after.len()];
    for seed in 0..DRAWS {
        let mut moved = start.clone();
        let mut random = Stream::new(seed, 0, 0, Purpose::Init);
        for v in moved.values_mut().flat_map(|w| &mut w.values) {
            *v *= 1.0 + random.range(-1.0, 1.0) / 4_194_304.0;
        }
        let exec = &mut HostExecutor::<f64>::new();
        let trial = Trial::new(exec, s, io)?;
        let got = steps((&trial, exec), (s, io), &moved, |_| Ok(()))?;
        for ((widest, got), want) in of_losses.iter_mut().zip(got.losses).zip(&plain.losses) {
            *widest = widest.max(distance(&[got], &[*want]).1);
        }
        for ((widest, (name, got)), (_, want)) in
            of_after.iter_mut().zip(got.after).zip(&plain.after)
        {
            let rest = |v: &[f64]| without_key_bias(name.as_str(), v);
            *widest = widest.max(distance(&rest(&got.values), &rest(&want.values)).1);
        }
    }
    Ok((of_losses, of_after))
}

/// Draws of [`spread`], and how often its largest a device may err: it rounds in every operation.
const DRAWS: u64 = 6;
const OF_SPREAD: f64 = 4.0;

pub(super) fn verify(subject: &Subject, computer: &Computer) -> Result<Verified> {
    let parts = subject.parts()?;
    let io = &parts.io;
    let s = Settings::read(io)?;
    let exec = &mut *computer.executor();
    let trial = Trial::new(exec, &s, io)?;
    let (model, n) = (&trial.model, s.batch);
    let mut judges = [
        (io, ""),
        (&parts.grads, "grads: "),
        (&parts.after, "after: "),
    ]
    .map(|(f, label)| Judge::new(f, computer.grade()).labelled(label));
    let [of_io, of_grads, of_after] = &mut judges;
    for name in FEATURES {
        of_io.read(format!("coef.{name}"));
    }
    for name in ["batches", "losses"] {
        of_io.read(name);
    }
    trial.compare_groups(of_io, &s)?;
    let losses = io.reals("losses", &[s.steps])?;
    io.reals("batches", &[s.steps, n, 3, s.img, s.img])?;
    let start = weights(&parts.init, |name| Some(name.into()))?;
    let got = steps((&trial, exec), (&s, io), &start, |exec| {
        for (name, tensor) in trial.features {
            let values = exec.fetch(trial.train, tensor)?.to_f64();
            let shape = match name {
                "tokens" => vec![n, values.len() / n / s.dim, s.dim],
                _ => vec![n, s.dim],
            };
            let guide = io.guide("float32_guide", "tokens_rel_l2");
            let got = Array::new(&shape, values);
            of_io.compare(&format!("feature.{name}"), &got, Quantity::Value, guide)?;
        }
        let guide = io.guide("float32_guide", "grad_rel_l2_max");
        compare_group(of_grads, model, exec, (GRADS, guide), |p| {
            (p.trained || parts.grads.tensors.contains_key(&p.name)).then(|| p.name.clone())
        })
    })?;

    of_io.loss(got.losses[0]);
    let dtype = io.stored("losses")?.dtype;
    let guides = &io.meta["float32_guide"]["losses_abs"];
    let bounds = losses.iter().enumerate().map(|(step, want)| {
        let guide = guides[step].as_f64().unwrap_or(0.0) / want.abs().max(1e-30);
        of_io.bound(dtype, Quantity::Value, guide)
    });
    let mut of_losses: Vec<f64> = bounds.collect();
    let guide = io.guide("float32_guide", "after_rel_l2_max");
    let mut bounds = Vec::new();
    let mut within = true;
    for (name, array) in &got.after {
        let want = parts.after.reals(name, &array.shape)?;
        let bound = of_after.bound(parts.after.stored(name)?.dtype, Quantity::Gradient, guide);
        let rest = |v: &[f64]| without_key_bias(name, v);
        within &= distance(&rest(&array.values), &rest(want)).1 <= bound;
        bounds.push(bound);
    }
    for ((got, want), bound) in got.losses.iter().zip(losses).zip(&of_losses) {
        within &= distance(&[*got], &[*want]).1 <= *bound;
    }
    if !within && computer.grade() == Grade::Device {
        let exec = &mut HostExecutor::<f64>::new();
        let trial = Trial::new(exec, &s, io)?;
        let plain = steps((&trial, exec), (&s, io), &start, |_| Ok(()))?;
        let (by_loss, by_parameter) = spread(&s, io, &start, &plain)?;
        for (bound, spread) in of_losses.iter_mut().zip(by_loss) {
            *bound = bound.max(OF_SPREAD * spread);
        }
        for (bound, spread) in bounds.iter_mut().zip(by_parameter) {
            *bound = bound.max(OF_SPREAD * spread);
        }
        of_after.note(
            "bounds behind the first update are no less than 4 times what the f64 reference's own results move by \
             where its weights are moved by 2^-22: AdamW divides by gradients that are within rounding of zero",
        );
    }
    for (step, (got, want)) in got.losses.iter().zip(losses).enumerate() {
        let error = distance(&[*got], &[*want]);
        of_io.add(&format!("losses[{step}]"), error, of_losses[step]);
    }
    for ((name, array), bound) in got.after.iter().zip(bounds) {
        of_after.compare_within(name, array, Quantity::Gradient, bound)?;
    }
    Verified::of(judges)
}
