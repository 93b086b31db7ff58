//! A model with its programs on an executor: gradient step, update, features. Training and evaluation both start here.

mod diagnostics;
mod ranks;
mod resident;

pub use diagnostics::PairValues;

use super::gradient::{Gradient, Started};
use super::optimizer::{Exchange, Optimizer};
use super::{Config, Result, TrainError};
use crate::check::self_test;
use crate::comm::World;
use crate::config::{Precision, method};
use crate::data::packed::{self, Images};
use crate::data::{Dataset, Split};
use crate::device::{Choice, DeviceError, Limits, Options};
use crate::eval::attention::{self, Maps, Picture};
use crate::eval::features::{Embedder, Features, Shape};
use crate::eval::knn::{self, Bank, Distance, Knn, Vote};
use crate::graph::exec::Ticket;
use crate::graph::gpu::GpuExecutor;
use crate::graph::host::HostExecutor;
use crate::graph::memory::free_memory;
use crate::graph::planner::Planner;
use crate::graph::portable::Portable;
use crate::graph::state::Group;
use crate::graph::{Executor, GraphError, HostData, ProgramId, StepScalars, TensorType};
use crate::methods::Method;
use crate::nn::model::MOMENTUM_COPY;
use crate::nn::{Mode, Model, Net};
use crate::ops::augment::words;
use crate::run::environment::{Memory, Planned};
use resident::{crowded, streamed};

/// Group of the training images on the device.
pub const IMAGES: Group = Group::transient("data");

/// Most images that a feature batch holds.
const FEATURE_BATCH: usize = 250;

/// Opens the executor for a device choice, for work in `precision` (cooperative matrices are tried first); the ops
/// named in `twins` run on the host. `auto` falls back to the CPU and says so through `tell`.
///
/// # Errors
/// No such adapter.
pub fn open_executor(
    choice: &Choice,
    twins: &[String],
    precision: Precision,
    tell: impl FnMut(String),
) -> Result<Box<dyn Executor>> {
    let half = precision == Precision::Mixed;
    open_with(choice, Options::default(), (twins, half), tell)
}

/// As [`open_executor`], with the kernels that a browser on that adapter has.
///
/// # Errors
/// As [`open_executor`].
pub fn open_as_browser(choice: &Choice, tell: impl FnMut(String)) -> Result<Box<dyn Executor>> {
    let options = Options {
        like: Some(Limits::web()),
        ..Options::default()
    };
    open_with(choice, options, (&[], false), tell)
}

fn open_with(
    choice: &Choice,
    options: Options,
    (twins, half): (&[String], bool),
    mut tell: impl FnMut(String),
) -> Result<Box<dyn Executor>> {
    let cpu = || Box::new(HostExecutor::<f32>::new());
    if *choice == Choice::Cpu {
        return Ok(cpu());
    }
    match self_test::open(choice, options, half, &mut tell) {
        Ok(device) => Ok(Box::new(GpuExecutor::new(device).with_twins(twins))),
        Err(DeviceError::NoAdapter(_)) if *choice == Choice::Auto => {
            tell("no hardware GPU found: running on the CPU executor (`amcl-wgpu devices` lists adapters)".into());
            Ok(cpu())
        }
        Err(e) => Err(GraphError::from(e).into()),
    }
}

/// A step under way.
#[derive(Debug)]
pub struct Pending {
    gradient: Started,
    norm: Ticket,
}

/// A step that is done.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Mean over micro-batches.
    pub loss: f32,
    /// The terms that it is made of, as [`Session::terms`] names them.
    pub terms: Vec<f32>,
    /// Squared norm of the gradient.
    pub norm2: f32,
    /// Mixed precision: the loss scale that the next step has.
    pub scale: Option<f32>,
    /// Not finite, and not to be repaired: the weights stay what they were before the step.
    pub failed: bool,
}

impl Finished {
    /// Mixed precision: the gradient overflowed, parameters and moments are as before the step, and the next one has
    /// a smaller loss scale.
    pub fn skipped(&self) -> bool {
        !self.failed && !self.norm2.is_finite()
    }
}

/// Mixed precision needs f16 in shaders; the CPU executor rounds where a GPU would store halves.
fn halves_run(exec: &dyn Executor) -> Result<()> {
    match exec.limits() {
        Some(l) if !l.f16 => Err(TrainError::Config(format!(
            "{} has no f16 in shaders, which mixed precision needs: a new run takes --precision f32; one that \
             is continued, a device with f16 or --device cpu",
            exec.device().map_or("the adapter", |d| &d.report.name)
        ))),
        _ => Ok(()),
    }
}

/// A compiled model.
pub struct Session {
    /// What computes.
    pub exec: Box<dyn Executor>,
    /// Parameters and statistics.
    pub model: Model,
    config: Config,
    /// The gradient of a batch's loss.
    pub gradient: Gradient,
    optimizer: Optimizer,
    features: Features,
    maps: Option<Maps>,
    knn: Option<Knn>,
    /// Decay of the momentum encoder at the start and at the end of the run, where there is one.
    pub momentum: Option<[f32; 2]>,
    /// Steps by which that decay is ahead ([`Method::momentum_ahead`]).
    pub momentum_ahead: usize,
    /// Why the training images do not lie on the device, if they do not.
    streamed: Option<String>,
    /// The rank that it is.
    world: World,
}

impl Session {
    /// Builds the graphs of a configuration for a data set and compiles them; weights are initialised from the seed.
    /// A data set of at most `data.resident_mib`, and of a buffer that the device has, goes to the device once.
    ///
    /// # Errors
    /// Impossible shapes, memory, device.
    pub fn new(config: &Config, exec: Box<dyn Executor>, data: &Dataset) -> Result<Self> {
        let method = method::method(config)?;
        Self::of_method(config, method.as_ref(), exec, data)
    }

    /// [`Session::new`] with this method in place of the configuration's.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn of_method(
        config: &Config,
        method: &dyn Method,
        exec: Box<dyn Executor>,
        data: &Dataset,
    ) -> Result<Self> {
        Self::of_rank(config, (method, &World::default()), exec, data)
    }

    /// [`Session::of_method`] for a rank of `config.dist.ranks`.
    ///
    /// # Errors
    /// As [`Session::new`]; a rank that ends.
    pub fn of_rank(
        config: &Config,
        (method, world): (&dyn Method, &World),
        exec: Box<dyn Executor>,
        data: &Dataset,
    ) -> Result<Self> {
        if config.optim.precision == Precision::Mixed {
            halves_run(exec.as_ref())?;
        }
        let mut s = Self::compiled(config, (method, world), exec, data)?;
        s.model.initialise(s.exec.as_mut(), config.run.seed)?;
        if let Some(id) = s.model.states.find(IMAGES, "images") {
            let ids: Vec<u32> = (0..data.len() as u32).collect();
            let images = packed::pack(data, &ids)?.words;
            s.exec
                .write_state(&s.model.states, id, &HostData::U32(images))?;
        }
        Ok(s)
    }

    /// Parameters, memory and work of the session that `exec` would hold, before anything is allocated; with `split`
    /// its kNN evaluation's memory too. What a GPU keeps as parameters of kernels comes on top.
    ///
    /// # Errors
    /// Impossible shapes.
    pub fn planned(
        config: &Config,
        (method, world): (&dyn Method, &World),
        exec: &dyn Executor,
        (data, split): (&Dataset, Option<&Split>),
    ) -> Result<Planned> {
        let planner = Planner::like(exec);
        Ok(Self::laid_out(config, (method, world), planner, (data, split))?.planned_for(data))
    }

    /// [`Session::planned`] for an adapter of which no more than its limits is known, with the programs of a step, of
    /// features and of the evaluation as they would be recorded for it.
    ///
    /// # Errors
    /// Impossible shapes; a tensor that the adapter's bindings or buffers do not hold.
    pub fn recorded(
        config: &Config,
        method: &dyn Method,
        limits: &Limits,
        (data, split): (&Dataset, Option<&Split>),
    ) -> Result<(Planned, Portable)> {
        if config.optim.precision == Precision::Mixed {
            halves_run(&Planner::recording(limits))?;
        }
        let alone = (method, &World::default());
        let s = Self::laid_out(config, alone, Planner::recording(limits), (data, split))?;
        Ok((s.planned_for(data), s.portable()?.0))
    }

    /// The programs of a session on a planner that records ([`Planner::recording`]), and what their buffers hold.
    ///
    /// # Errors
    /// Another executor; ops that run on the host.
    pub fn portable(&self) -> Result<(Portable, Vec<u8>)> {
        let nothing = || TrainError::Config("this executor does not record".into());
        let tape = self.exec.tape().ok_or_else(nothing)?;
        let mut names = vec!["gradient"; tape.programs.len()];
        names[self.optimizer.program.0] = "optimizer";
        names[self.features.program().0] = "features";
        let knn = self.knn.iter().flat_map(Knn::programs);
        for (p, name) in knn.zip(["neighbours", "votes"]) {
            names[p.0] = name;
        }
        let (mut plan, contents) = tape.portable(&names)?;
        for (program, taped) in plan.programs.iter_mut().zip(&tape.programs) {
            for (output, port) in program.outputs.iter_mut().zip(&taped.outputs) {
                let called = match program.name.as_str() {
                    "gradient" => self.gradient.called(port.tensor),
                    "features" => Some("features"),
                    _ => None,
                };
                output.name = called.map_or_else(|| output.name.clone(), Into::into);
            }
        }
        Ok((plan, contents))
    }

    /// A session on a planner, with its evaluation where `split` is given.
    fn laid_out(
        config: &Config,
        of: (&dyn Method, &World),
        planner: Planner,
        (data, split): (&Dataset, Option<&Split>),
    ) -> Result<Self> {
        let mut s = Self::compiled(config, of, Box::new(planner), data)?;
        if let Some(split) = split {
            s.prepare_knn(split)?;
        }
        Ok(s)
    }

    fn planned_for(&self, data: &Dataset) -> Planned {
        let (o, epochs) = (&self.config.optim, self.config.run.epochs);
        Planned {
            parameters: self.model.sizes().1,
            memory: self.memory(),
            steps: data.len() / o.batch_size * epochs,
            step_flops: self.gradient.work,
        }
    }

    /// The programs, with all memory allocated and nothing in it.
    fn compiled(
        config: &Config,
        (method, world): (&dyn Method, &World),
        mut exec: Box<dyn Executor>,
        data: &Dataset,
    ) -> Result<Self> {
        let largest = exec.limits().map(|l| l.max_buffer);
        let shared = exec.limits().is_none_or(|l| l.is_cpu);
        let (c, o) = (&config.model, &config.optim);
        let (momentum, momentum_ahead) = (method.momentum(), method.momentum_ahead());
        let side = (data.height, data.width);
        let image_words = words(side.0, side.1);
        let mut model = Model::default();
        let bytes = data.len() as u64 * image_words as u64 * 4;
        let streamed = match data.resident() {
            true => streamed(bytes, config.data.resident_mib, largest)
                .or_else(|| crowded(bytes, shared, free_memory())),
            false => Some("they are read while training goes on".into()),
        };
        let resident = streamed.is_none().then(|| {
            let ty = TensorType::u32([data.len(), image_words]);
            model.states.add(IMAGES, "images", ty)
        });

        let batch = config.part();
        let of_rank = world.clone();
        let mut gradient = Gradient::of_rank(config, method, &mut model, side, resident, of_rank)?;
        // Ranks take the factor that as many micro-batches of one rank have. Steps carry it, and the part of it that
        // this rank's micro-batches have already, as f32; but for those whose batch norm makes the step of the whole
        // batch.
        let as_f32 = |x: f64| f64::from(x as f32);
        let whole = config.model.sync_bn || method.draws().regrouped.is_some();
        let share = match whole {
            false => as_f32(1.0 / config.parts() as f64) / as_f32(1.0 / config.divisor()),
            true => 1.0 / world.ranks() as f64,
        };
        let exchange = Exchange {
            share,
            world: world.clone(),
            one_norm: config.model.sync_bn,
            bucket: (f64::from(config.dist.bucket_mib) * f64::from(1 << 20)) as usize,
            owners: config.dist.owners,
            ..Exchange::default()
        };
        let to = (gradient.delivery(), &exchange);
        let (mut u, optimizer) = Optimizer::of_rank(o, &mut model, to)?;
        let net = Net::new(&mut u, &mut model, Mode::Train);
        method.after_step(&mut net.in_world(world.clone(), true))?;
        exchange.own(&mut u, &model.states, "momentum encoder", MOMENTUM_COPY)?;
        gradient.collect_for(&model, &exchange)?;

        // Not more images at once than training has, so that evaluation never needs more memory.
        let feature_batch = FEATURE_BATCH.min(2 * batch);
        let (f, features) = Features::graph(
            method.encoder(),
            &mut model,
            &config.augment,
            Shape {
                side,
                size: c.image_size,
                batch: feature_batch,
            },
            &[],
        )?;

        let (encoder, policy) = (method.encoder(), &config.augment);
        let maps = Maps::graph(
            encoder,
            &mut model,
            policy,
            side,
            c.image_size,
            attention::IMAGES,
        )?;

        exec.allocate_states(&model.states)?;
        let gradient = gradient.compile(exec.as_mut())?;
        let scales = o.layer_scales(method.encoder())?;
        let optimizer = optimizer.compile(&u, o, &scales, &model, exec.as_mut())?;
        let features = features.compile(&f, exec.as_mut())?;
        Ok(Self {
            exec,
            model,
            config: config.clone(),
            gradient,
            optimizer,
            features,
            maps,
            knn: None,
            momentum,
            momentum_ahead,
            streamed,
            world: world.clone(),
        })
    }

    /// Compiles what [`Session::knn`] runs, so that it is part of the memory that is planned.
    ///
    /// # Errors
    /// Memory, shaders.
    pub fn prepare_knn(&mut self, split: &Split) -> Result<Knn> {
        if let Some(knn) = self.knn {
            return Ok(knn);
        }
        let r = &self.config.run;
        let vote = Vote {
            k: r.knn_k,
            t: r.knn_t,
            distance: Distance::Cosine,
        };
        let (size, classes) = (split.bank().len(), split.classes.len());
        let exec = self.exec.as_mut();
        let knn = Knn::compile(exec, size, self.features.dim, classes, vote)?;
        self.knn = Some(knn);
        Ok(knn)
    }

    fn programs(&self) -> Vec<ProgramId> {
        let mut all = self.gradient.programs();
        all.extend([self.optimizer.program, self.features.program()]);
        all.extend(self.knn.iter().flat_map(Knn::programs));
        all
    }

    /// Operations of a step's matrix products and convolutions, forward and backward.
    pub fn model_flops(&self) -> f64 {
        self.gradient.flops
    }

    /// The memory plan: bytes by part, and the largest tensors of a training step.
    pub fn memory(&self) -> Memory {
        let plan = self.exec.plan(self.gradient.programs()[0]);
        let largest = plan.largest_slots(8).into_iter();
        Memory {
            planned: self.planned_bytes(),
            training_step: plan.bytes(),
            without_reuse: plan.unpooled,
            states: self.model.states.bytes(),
            images_on_device: self.gradient.resident,
            images_streamed: self.streamed.clone(),
            streamed_loss: method::streams(&self.config),
            largest: largest.map(|(bytes, t)| (bytes, t.to_string())).collect(),
        }
    }

    /// Bytes planned: pooled tensors and kernel parameters of all programs, and states.
    pub fn planned_bytes(&self) -> u64 {
        let of =
            |p: &ProgramId| self.exec.plan(*p).peak_bytes() as u64 + self.exec.parameter_bytes(*p);
        self.programs().iter().map(of).sum::<u64>() + self.model.states.bytes() as u64
    }

    /// Names of the terms that the loss is made of; none where it is one term.
    pub fn terms(&self) -> &[&'static str] {
        &self.gradient.terms
    }

    /// Starts one optimiser step on the samples `ids`, without waiting for it.
    ///
    /// # Errors
    /// Device loss.
    pub fn start(
        &mut self,
        data: &dyn Images,
        ids: &[u32],
        scalars: &StepScalars,
    ) -> Result<Pending> {
        let exec = self.exec.as_mut();
        let gradient = self
            .gradient
            .start(exec, &self.config, (data, ids), scalars)?;
        let norm = self.update(scalars)?;
        Ok(Pending { gradient, norm })
    }

    /// The second half of [`Session::start`]: the update by the gradient that was made.
    ///
    /// # Errors
    /// Device loss; a rank that ends.
    pub fn update(&mut self, scalars: &StepScalars) -> Result<Ticket> {
        self.exec.run(self.optimizer.program, scalars)?;
        // Nodes cannot fail: what an exchange between ranks met is asked for.
        self.world.check()?;
        let fetched = self.optimizer.fetched();
        Ok(self.exec.fetch_later(self.optimizer.program, &fetched)?)
    }

    /// Waits for a started step.
    ///
    /// # Errors
    /// Device loss; a rank that ends.
    pub fn finish(&mut self, step: &Pending) -> Result<Finished> {
        Ok(self.finish_or_stop(step, false)?.0)
    }

    /// [`Session::finish`], and whether any rank wants to stop: all of them learn it at the same step.
    ///
    /// # Errors
    /// As [`Session::finish`].
    pub fn finish_or_stop(&mut self, step: &Pending, stop: bool) -> Result<(Finished, bool)> {
        let (loss, terms) = step.gradient.collect(self.exec.as_mut())?;
        let wants = if stop { 1.0 } else { 0.0 };
        let own: Vec<f64> = [wants, loss].into_iter().chain(terms).collect();
        let means = match self.world.is_alone() {
            true => own,
            false => {
                let share = 1.0 / self.world.ranks() as f64;
                self.world.sum("loss", &own, share)?
            }
        };
        let (stop, loss) = (means[0] > 0.0, means[1] as f32);
        let terms = means[2..].iter().map(|t| *t as f32).collect();
        let after = self.exec.collect(&step.norm, true)?.unwrap_or_default();
        let after: Vec<f32> = after.iter().map(|d| d.to_f32()[0]).collect();
        let norm2 = after.first().copied().unwrap_or(f32::NAN);
        let finite = loss.is_finite() && norm2.is_finite();
        let finished = match after[..] {
            [_, scale, halt] => Finished {
                loss,
                terms,
                norm2,
                scale: Some(scale),
                failed: halt != 0.0,
            },
            _ => Finished {
                loss,
                terms,
                norm2,
                scale: None,
                failed: !finite,
            },
        };
        Ok((finished, stop))
    }

    /// Backbone features [n, dim] of a data set: test transform, running statistics.
    ///
    /// # Errors
    /// Device loss.
    pub fn features(
        &mut self,
        data: &Dataset,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>> {
        Ok(self.features.of(self.exec.as_mut(), data, progress)?)
    }

    /// Length of a feature.
    pub fn feature_dim(&self) -> usize {
        self.features.dim
    }

    /// kNN accuracy in percent on the test images, and the test features.
    ///
    /// # Errors
    /// Device loss.
    pub fn knn(
        &mut self,
        split: &Split,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(f64, Vec<f32>)> {
        let knn = self.prepare_knn(split)?;
        let bank = self.of_ranks(split.bank(), progress)?;
        let queries = self.of_ranks(&split.test, progress)?;
        let bank = Bank {
            features: &bank,
            labels: &split.bank().labels,
        };
        let (own, dim) = (self.world.part(split.test.len()), self.features.dim);
        let own = &queries[own.start * dim..own.end * dim];
        let ranked = knn.ranked(self.exec.as_mut(), own, bank)?;
        let best = ranked.chunks(split.classes.len()).map(|row| row[0]);
        let best = self.gathered("classes", best.collect())?;
        Ok((knn::top(&best, &split.test.labels, 1), queries))
    }
}

impl Embedder for Session {
    fn dim(&self) -> usize {
        self.features.dim
    }

    fn parts(&mut self) -> (Features, &mut dyn Executor) {
        (self.features.clone(), self.exec.as_mut())
    }

    fn attention(&mut self, data: &Dataset) -> crate::graph::Result<Option<Picture>> {
        let maps = self.maps.as_ref();
        maps.map(|m| m.picture(self.exec.as_mut(), data))
            .transpose()
    }
}
