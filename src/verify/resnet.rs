//! Kinds `network_{init,io,grads,after}`: a small ResNet with a projection head and NT-Xent, five steps of SGD
//! (`make_golden.py`). The files hold PyTorch's f32 run; `losses_f64` are of its f64 run, and `float32_guide` is the
//! distance between the two.
//!
//! A ReLU that stands within rounding of zero may pass its unit in f32 and not in f64; the gradient is then another
//! one, and so is all that follows. In f32 every step therefore begins where the f64 reference's begins, or a little
//! beside it: at weights from which rounding moves the reference's own gradient by little.

use super::judge::{Judge, Quantity, distance};
use super::network::{images, in_file, load, weights};
use super::{Computer, Grade, Parts, Result, Subject, Verified, VerifyError};
use crate::config::{Decays, Optim};
use crate::fixture::{Fixture, bad};
use crate::graph::host::HostExecutor;
use crate::graph::state::Group;
use crate::graph::{Executor, Graph, HostData, ProgramId, StepScalars, TensorId, TensorType};
use crate::methods::loss::contrastive::nt_xent;
use crate::methods::loss::evaluate::Array;
use crate::methods::loss::{Path, Plain};
use crate::nn::backbones::resnet::{Block, ResNet, Stem};
use crate::nn::heads::Mlp;
use crate::nn::import::Named;
use crate::nn::model::{PARAMS, STATISTICS};
use crate::nn::{Backbone, Mode, Model, Net, Part};
use crate::ops;
use crate::reference::philox::{Purpose, Stream};
use crate::train::optimizer::{self, Delivery, GRADS, MOMENTUM, Optimizer};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    layers: Vec<usize>,
    width: usize,
    size: usize,
    tau: f64,
    lr: f64,
    momentum: f32,
    weight_decay: f32,
    steps: usize,
    bn_eps: f64,
    bn_momentum: f64,
}

/// Keys of `config` that describe.
const DESCRIBED: &[&str] = &["seed", "stem", "head", "loss", "sgd", "running_stats"];

/// What a number of the maker's f32 run may err that has no guide of its own.
const UNGUIDED: f64 = 1e-5;

/// Groups of what a step begins with.
const HELD: [Group; 3] = [PARAMS, MOMENTUM, STATISTICS];

/// What a step begins with: weights, momentum, running statistics.
type Start = [Vec<f64>; 3];

/// The network, its update and its evaluation on an executor.
struct Trial<'e> {
    exec: &'e mut dyn Executor,
    model: Model,
    /// Images of a batch.
    images: usize,
    /// Length of a feature.
    width: usize,
    inputs: [TensorId; 2],
    train: ProgramId,
    feature: TensorId,
    z: TensorId,
    loss: TensorId,
    update: ProgramId,
    eval: ProgramId,
    feature_eval: TensorId,
}

fn failed(e: crate::train::TrainError) -> VerifyError {
    bad(e.to_string()).into()
}

impl<'e> Trial<'e> {
    fn new(exec: &'e mut dyn Executor, s: &Settings, parts: &Parts) -> Result<Self> {
        let stages = s.layers.len();
        if stages != 4 || s.layers.contains(&0) || s.width == 0 {
            return Err(
                bad("config.layers are four numbers above 0, and so is config.width").into(),
            );
        }
        let network = ResNet {
            block: Block::Basic,
            blocks: s.layers.clone(),
            width: s.width,
            stem: Stem::Small(1),
            zero_init_residual: false,
        };
        let [_, n, ..] = parts.io.rank::<5>("batches")?;
        let [hidden, _] = parts.init.rank("head.0.weight")?;
        let [out, _] = parts.init.rank("head.2.weight")?;
        let shape = [n, s.size, s.size, 3];
        let (mut model, mut g) = (Model::default(), Graph::new());
        let x = g.input("images", TensorType::f32(shape));
        let mut net = Net::new(&mut g, &mut model, Mode::Train);
        let feature = network.layers(&mut net).call(&mut net, x)?.pooled;
        let head = Mlp::plain(1, hidden, out).layers(&mut net, Part::Projector, network.width());
        let z = head.call(&mut net, feature)?;
        let loss = nt_xent(&mut g, z, &Plain::constant(s.tau), true, Path::Auto)?.loss;
        let params: Vec<TensorId> = model
            .params
            .iter()
            .map(|p| g.state(&model.states, p.id))
            .collect();
        let gradients = ops::backward(&mut g, loss, &params)?;
        let o = Optim {
            name: "sgd".into(),
            momentum: s.momentum,
            nesterov: false,
            weight_decay: s.weight_decay,
            decay: Decays::All,
            clip: 0.0,
            ..Optim::default()
        };
        let (u, optimizer) = Optimizer::graph(&o, &mut model).map_err(failed)?;
        optimizer::collect(&mut g, &model, &gradients, Delivery::Written).map_err(failed)?;
        let mut rows = optimizer::table(&o, &[], &model);
        rows.iter_mut().for_each(|row| row[0] *= s.lr);
        let mut e = Graph::new();
        let xe = e.input("images", TensorType::f32(shape));
        let mut net = Net::new(&mut e, &mut model, Mode::Eval);
        let feature_eval = network.layers(&mut net).call(&mut net, xe)?.pooled;

        exec.allocate_states(&model.states)?;
        let train = exec.compile(&g, &[feature, z, loss])?;
        let update = optimizer
            .compile_table(&u, &rows, &model, exec)
            .map_err(failed)?
            .program;
        let eval = exec.compile(&e, &[feature_eval])?;
        load(&model, exec, &named(&parts.init)?)?;
        Ok(Self {
            exec,
            model,
            images: n,
            width: network.width(),
            inputs: [x, xe],
            train,
            feature,
            z,
            loss,
            update,
            eval,
            feature_eval,
        })
    }

    /// What the next step begins with.
    fn start(&mut self) -> Result<Start> {
        let mut out = Start::default();
        for (out, group) in out.iter_mut().zip(HELD) {
            *out = self.whole(group)?;
        }
        Ok(out)
    }

    /// Puts the network where a step begins.
    fn set(&mut self, start: &Start) -> Result<()> {
        for (values, group) in start.iter().zip(HELD) {
            let id = self
                .model
                .states
                .whole(group)
                .ok_or_else(|| bad("a group is missing"))?;
            self.exec
                .write_state(&self.model.states, id, &HostData::F64(values.clone()))?;
        }
        Ok(())
    }

    /// Forward and backward; the loss.
    fn pass(&mut self, batch: &HostData) -> Result<f64> {
        self.exec.upload(self.train, self.inputs[0], batch)?;
        self.exec.run(self.train, &StepScalars::default())?;
        let loss = self.exec.fetch(self.train, self.loss)?.to_f64();
        Ok(loss.first().copied().unwrap_or(f64::NAN))
    }

    /// A group of states, whole.
    fn whole(&mut self, group: Group) -> Result<Vec<f64>> {
        let id = self
            .model
            .states
            .whole(group)
            .ok_or_else(|| bad("a group is missing"))?;
        Ok(self.exec.read_state(&self.model.states, id)?.to_f64())
    }

    fn update(&mut self) -> Result<()> {
        let scalars = StepScalars {
            lr: 1.0,
            ..StepScalars::default()
        };
        Ok(self.exec.run(self.update, &scalars)?)
    }

    /// The gradient and the new weights of one step from `start`.
    fn step(&mut self, start: &Start, batch: &HostData) -> Result<[Vec<f64>; 2]> {
        self.set(start)?;
        self.pass(batch)?;
        let gradient = self.whole(GRADS)?;
        self.update()?;
        Ok([gradient, self.whole(PARAMS)?])
    }

    fn features_eval(&mut self, batch: &HostData) -> Result<Array> {
        self.exec.upload(self.eval, self.inputs[1], batch)?;
        self.exec.run(self.eval, &StepScalars::default())?;
        let values = self.exec.fetch(self.eval, self.feature_eval)?.to_f64();
        Ok(Array::new(&[self.images, self.width], values))
    }
}

/// The tensors of a file that are weights.
fn named(f: &Fixture) -> Result<Named> {
    weights(f, |name| Some(name.to_string()))
}

/// Weights times 1 + `by` u, u uniform in +-1, as f32.
fn moved(start: &Start, by: f64, seed: u64) -> Start {
    let mut random = Stream::new(seed, 0, 0, Purpose::Init);
    let mut out = start.clone();
    for v in &mut out[0] {
        let u = f64::from(random.range(-1.0, 1.0));
        *v = f64::from((*v * (1.0 + by * u)) as f32);
    }
    out
}

/// How far a start is moved when it is not steady: relative.
const ASIDE: f64 = 1.0 / 4096.0;
/// As much as some roundings of f32: 2^-20, relative.
const ROUNDING: f64 = 1.0 / 1_048_576.0;
/// Starts that are moved by so much. A unit that a device's rounding may flip, which is less, stays on its side in all
/// of them about once in 2^12 times.
const NEAR: u64 = 12;

/// A start from which the reference's step is steady, with that step's gradient and weights.
struct Steady {
    /// Seed of the move; 0: none.
    seed: u64,
    start: Start,
    want: [Vec<f64>; 2],
}

/// Looks for a start, `start` itself at first, from which weights that are moved by as much as f32 rounds change the
/// reference's gradient by less than a quarter of `bound`: so no ReLU that matters stands at zero.
fn steady(
    oracle: &mut Trial<'_>,
    start: &Start,
    batch: &HostData,
    bound: f64,
) -> Result<Option<Steady>> {
    for seed in 0..16 {
        let from = moved(start, if seed == 0 { 0.0 } else { ASIDE }, seed);
        let want = oracle.step(&from, batch)?;
        let mut still = true;
        for near in 100..100 + NEAR {
            let [gradient, _] = oracle.step(&moved(&from, ROUNDING, near), batch)?;
            still &= distance(&gradient, &want[0]).1 < bound / 4.0;
            if !still {
                break;
            }
        }
        if still {
            let start = from;
            return Ok(Some(Steady { seed, start, want }));
        }
    }
    Ok(None)
}

/// The judges of the files that are compared with.
struct Judges<'a> {
    parts: &'a Parts,
    io: Judge<'a>,
    grads: Judge<'a>,
    after: Judge<'a>,
}

impl<'a> Judges<'a> {
    fn new(parts: &'a Parts, grade: Grade) -> Self {
        let mut io = Judge::new(&parts.io, grade);
        for name in ["batches", "losses", "losses_f64"] {
            io.read(name);
        }
        io.note("the file's losses of an f32 run are not compared: losses_f64 are");
        Self {
            parts,
            io,
            grads: Judge::new(&parts.grads, grade).labelled("grads: "),
            after: Judge::new(&parts.after, grade).labelled("after: "),
        }
    }

    /// The bound of what the maker computed in f32, with this key of its guide.
    fn bound(&self, key: &str, quantity: Quantity) -> f64 {
        let guide = self.parts.io.guide("float32_guide", key);
        match self.io.grade {
            Grade::Oracle if key.is_empty() => UNGUIDED,
            // As far as the maker's own runs are apart.
            Grade::Oracle => 1.5 * guide,
            Grade::Device => (20.0 * guide).max(quantity.floor()),
        }
    }

    /// The first batch's features and running statistics.
    fn first(&mut self, trial: &mut Trial<'_>) -> Result<()> {
        let n = trial.images;
        for (name, tensor, key) in [
            ("feature", trial.feature, "feature_rel_l2"),
            ("z", trial.z, ""),
        ] {
            let values = trial.exec.fetch(trial.train, tensor)?.to_f64();
            let got = Array::new(&[n, values.len() / n], values);
            let bound = self.bound(key, Quantity::Value);
            self.io.compare_within(name, &got, Quantity::Value, bound)?;
        }
        let bound = self.bound("", Quantity::Value);
        for (name, got) in trial.variables(STATISTICS)? {
            let name = format!("bn_after_first_forward.{name}");
            if self.parts.io.tensors.contains_key(&name) {
                self.io
                    .compare_within(&name, &got, Quantity::Value, bound)?;
            }
        }
        Ok(())
    }

    fn gradients(&mut self, trial: &mut Trial<'_>) -> Result<()> {
        let bound = self.bound("grad_rel_l2_max", Quantity::Gradient);
        for (name, got) in trial.variables(GRADS)? {
            self.grads
                .compare_within(&name, &got, Quantity::Gradient, bound)?;
        }
        Ok(())
    }

    fn loss(&mut self, step: usize, got: f64, want: f64) {
        self.io.loss(got);
        let guide = self.parts.io.meta["float32_guide"]["losses_abs"][step].as_f64();
        let guide = guide.unwrap_or(0.0) / want.abs().max(1e-30);
        let bound = match self.io.grade {
            Grade::Oracle => 1e-10,
            Grade::Device => (20.0 * guide).max(Quantity::Value.floor()),
        };
        let name = format!("losses_f64[{step}]");
        self.io.add(&name, distance(&[got], &[want]), bound);
    }

    fn feature_eval(&mut self, got: &Array) -> Result<()> {
        let bound = self.bound("feature_eval_rel_l2", Quantity::Value);
        self.io
            .compare_within("feature_eval_after", got, Quantity::Value, bound)
    }
}

impl Trial<'_> {
    /// The variables' entries in a group, in the layout of files.
    fn variables(&mut self, group: Group) -> Result<Vec<(String, Array)>> {
        let mut out = Vec::new();
        let of = if group == STATISTICS {
            &self.model.buffers
        } else {
            &self.model.params
        };
        for v in of.iter().filter(|v| v.part != Part::State) {
            let id = self
                .model
                .states
                .counterpart(v.id, group)
                .ok_or_else(|| bad("a group is missing"))?;
            let values = self.exec.read_state(&self.model.states, id)?.to_f64();
            out.push((v.name.clone(), in_file(&self.model, v, values)));
        }
        Ok(out)
    }
}

pub(super) fn verify(subject: &Subject, computer: &Computer) -> Result<Verified> {
    let parts = subject.parts()?;
    let s: Settings = parts.io.config(DESCRIBED)?;
    if s.bn_eps != 1e-5 || s.bn_momentum != 0.1 {
        return Err(bad("config.bn_eps and bn_momentum: only 1e-5 and 0.1 can be computed").into());
    }
    let grade = computer.grade();
    let mut exec = computer.executor();
    let mut trial = Trial::new(exec.as_mut(), &s, parts)?;
    let n = trial.images;
    parts
        .io
        .reals("batches", &[s.steps, n, 3, s.size, s.size])?;
    let losses = parts.io.reals("losses_f64", &[s.steps])?;
    let batches = (0..s.steps).map(|i| images(&parts.io, "batches", i * n, n));
    let batches = batches.collect::<Result<Vec<HostData>>>()?;
    let Some(first) = batches.first() else {
        return Err(bad("config.steps is 0").into());
    };
    let mut judges = Judges::new(parts, grade);
    if grade == Grade::Oracle {
        for (step, (batch, want)) in batches.iter().zip(losses).enumerate() {
            let loss = trial.pass(batch)?;
            judges.loss(step, loss, *want);
            if step == 0 {
                judges.first(&mut trial)?;
                judges.gradients(&mut trial)?;
            }
            trial.update()?;
        }
        let bound = judges.bound("after_rel_l2_max", Quantity::Gradient);
        for group in [PARAMS, STATISTICS] {
            for (name, got) in trial.variables(group)? {
                judges
                    .after
                    .compare_within(&name, &got, Quantity::Gradient, bound)?;
            }
        }
        let counts = parts
            .after
            .tensors
            .keys()
            .filter(|n| n.ends_with("num_batches_tracked"));
        counts.for_each(|name| judges.after.read(name));
        judges.feature_eval(&trial.features_eval(first)?)?;
        return Verified::of([judges.io, judges.grads, judges.after]);
    }

    judges.io.note(
        "every step begins where the f64 reference's begins, and `after` is compared in f64 alone: a ReLU within \
         rounding of zero would change all that follows",
    );
    let mut reference = HostExecutor::<f64>::new();
    let mut oracle = Trial::new(&mut reference, &s, parts)?;
    let bounds = [
        (
            "gradient",
            judges.bound("grad_rel_l2_max", Quantity::Gradient),
        ),
        (
            "weights",
            judges.bound("after_rel_l2_max", Quantity::Gradient),
        ),
    ];
    let mut compared = false;
    for (step, (batch, want)) in batches.iter().zip(losses).enumerate() {
        let start = oracle.start()?;
        trial.set(&start)?;
        let loss = trial.pass(batch)?;
        judges.loss(step, loss, *want);
        let still = steady(&mut oracle, &start, batch, bounds[0].1)?;
        if step == 0 {
            judges.first(&mut trial)?;
            if still.as_ref().is_some_and(|s| s.seed == 0) {
                judges.gradients(&mut trial)?;
                compared = true;
            }
        }
        match still {
            None => judges.io.note(format!(
                "step {step}: ReLUs stand at zero wherever it begins; not compared"
            )),
            Some(Steady { seed, start, want }) => {
                let got = trial.step(&start, batch)?;
                let from = if seed == 0 {
                    ""
                } else {
                    ", from weights moved by 2^-12"
                };
                for ((what, bound), (got, want)) in bounds.into_iter().zip(got.iter().zip(&want)) {
                    let name = format!("step {step} of the f64 reference{from}: {what}");
                    judges.io.add(&name, distance(got, want), bound);
                }
            }
        }
        oracle.set(&start)?;
        oracle.pass(batch)?;
        oracle.update()?;
    }
    load(&trial.model, trial.exec, &named(&parts.after)?)?;
    judges.feature_eval(&trial.features_eval(first)?)?;
    if !compared {
        judges
            .io
            .note("grads: not compared in f32, since ReLUs stand at zero at the first weights");
        return Verified::of([judges.io]);
    }
    Verified::of([judges.io, judges.grads])
}
