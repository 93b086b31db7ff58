//! A run, from its settings to its summary.

mod devices;
mod epoch;
mod forecast;
mod progress;
mod ranks;
mod run;
mod setup;
mod stream;

use super::session::Session;
use super::{Config, Result};
use crate::comm::World;
use crate::data::Split;
use crate::device::Choice;
use crate::methods::Method;
use crate::run::environment::Planned;
use crate::run::event::Event;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use stream::Listener;

/// A run to be: what to train, on what and where. [`Trainer::run`] trains it.
///
/// ```
/// use amcl_wgpu::config::Config;
/// use amcl_wgpu::device::Choice;
/// use amcl_wgpu::run::event::Event;
/// use amcl_wgpu::train::Trainer;
///
/// let small = [
///     "data.shapes_train=64", "data.shapes_test=0", "model.width=4", "heads.hidden=8", "heads.out=8",
///     "optim.batch_size=32", "run.epochs=1",
/// ];
/// let config = Config::parse("", &small.map(String::from))?;
/// let folder = tempfile::tempdir()?;
/// let mut losses = Vec::new();
/// let outcome = Trainer::new(config)
///     .device(Choice::Cpu)
///     .out(folder.path().join("run"))
///     .on_event(|event| {
///         if let Event::Step(step) = event {
///             losses.push(step.loss);
///         }
///     })
///     .run()?;
/// assert!(outcome.finished && losses.len() == 2);
/// assert!(folder.path().join("run/summary.json").exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a trainer does nothing until `run`"]
pub struct Trainer<'a> {
    job: Job<'a>,
    data: Option<Split>,
    listener: Listener<'a>,
    at_end: Option<AtEnd<'a>>,
    /// Devices that train together; none: the job's own.
    devices: Vec<Choice>,
}

/// Who is given the session and the images of a run that went to its end.
pub(super) type AtEnd<'a> = Box<dyn FnOnce(&mut Session, &Split) + Send + 'a>;

/// The settings of a run beside its data.
struct Job<'a> {
    config: Config,
    device: Choice,
    out: PathBuf,
    resume: bool,
    overwrite: bool,
    profile: bool,
    autotune: bool,
    twins: Vec<String>,
    init: Option<PathBuf>,
    method: Option<Box<dyn Method + Send + 'a>>,
    stop: Option<&'a AtomicBool>,
    notes: Vec<String>,
    /// Shares of a batch are set by timing the ranks' devices.
    timed_shares: bool,
    /// The rank that it is.
    world: World,
    /// The images of all ranks of this process.
    shared: Option<ranks::Shared>,
}

impl<'a> Trainer<'a> {
    /// A new run of a configuration: on the first hardware GPU, or else the CPU; into the folder `run`; tiles of
    /// products and convolutions chosen by timing them.
    pub fn new(config: Config) -> Self {
        Self::of_job(Job {
            config,
            device: Choice::Auto,
            out: "run".into(),
            resume: false,
            overwrite: false,
            profile: false,
            autotune: true,
            twins: Vec::new(),
            init: None,
            method: None,
            stop: None,
            notes: Vec::new(),
            timed_shares: false,
            world: World::default(),
            shared: None,
        })
    }

    fn of_job(job: Job<'a>) -> Self {
        Self {
            job,
            data: None,
            listener: Box::new(|_| ()),
            at_end: None,
            devices: Vec::new(),
        }
    }

    /// These images instead of those at `data.path`. Evaluations of the finished run open `data.path` all the same.
    pub fn data(mut self, data: Split) -> Self {
        self.data = Some(data);
        self
    }

    /// The device.
    pub fn device(mut self, device: Choice) -> Self {
        self.job.device = device;
        self
    }

    /// These devices together: each is a rank with its share of every batch, and a thread of this process. One device
    /// is [`Trainer::device`].
    pub fn devices(mut self, mut devices: Vec<Choice>) -> Self {
        if let [_] = devices[..] {
            self.job.device = devices.remove(0);
        }
        self.devices = devices;
        self
    }

    /// Of several ranks, each has a share of every batch by the speed of its device: some steps of each are timed
    /// first, and the configuration keeps the shares (`dist.shares`).
    pub fn time_shares(mut self, timed: bool) -> Self {
        self.job.timed_shares = timed;
        self
    }

    /// This process is one of several ranks that share every batch: the others run the same configuration. Rank 0
    /// writes the run's folder, and its listener is told of events; others keep what they have to say in the folder's
    /// `rank-N.log`.
    pub fn rank(mut self, world: World) -> Self {
        self.job.world = world;
        self
    }

    /// The run's folder.
    pub fn out(mut self, folder: impl Into<PathBuf>) -> Self {
        self.job.out = folder.into();
        self
    }

    /// Continue the run in the folder, whose configuration this must be, from its newest checkpoint.
    pub fn resume(mut self, resume: bool) -> Self {
        self.job.resume = resume;
        self
    }

    /// Replace a run that is in the folder: its files are removed when this one has saved its first checkpoint, and
    /// stay where this one does not come to it.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.job.overwrite = overwrite;
        self
    }

    /// Start from the weights of a run, an exported folder or a safetensors file; a resumed run has its own.
    pub fn init(mut self, from: Option<PathBuf>) -> Self {
        self.job.init = from;
        self
    }

    /// This method in place of the configuration's, whose `[method]`, `[heads]`, `[loss]` and `[amcl]` are then not
    /// read. A run of it goes on, and gives its encoder ([`Encoder::of_method`]), where the method is given again.
    ///
    /// [`Encoder::of_method`]: crate::prelude::Encoder::of_method
    pub fn method(mut self, method: Box<dyn Method + Send + 'a>) -> Self {
        self.job.method = Some(method);
        self
    }

    /// Time every kernel of one step before training.
    pub fn profile(mut self, profile: bool) -> Self {
        self.job.profile = profile;
        self
    }

    /// On a GPU, choose the tiles of products and convolutions by timing them; else by a table.
    pub fn autotune(mut self, autotune: bool) -> Self {
        self.job.autotune = autotune;
        self
    }

    /// Ops to run by their twins on the host.
    pub fn twins(mut self, ops: Vec<String>) -> Self {
        self.job.twins = ops;
        self
    }

    /// Is read after every step: once it is set, the run saves and ends.
    pub fn stop(mut self, stop: &'a AtomicBool) -> Self {
        self.job.stop = Some(stop);
        self
    }

    /// Lines that the run tells and keeps in its log behind those of its data: why it is what it is.
    pub fn notes(mut self, notes: Vec<String>) -> Self {
        self.job.notes = notes;
        self
    }

    /// Is told everything that happens. What comes while images are decoded comes from other threads.
    pub fn on_event(mut self, listener: impl FnMut(&Event) + Send + 'a) -> Self {
        self.listener = Box::new(listener);
        self
    }

    /// Is given the trained network, on its device, and the images, when the run has gone to its end and its files are
    /// written: what is looked at then need not be opened a second time. A run that is stopped or fails does not call
    /// it.
    pub fn at_end(mut self, look: impl FnOnce(&mut Session, &Split) + Send + 'a) -> Self {
        self.at_end = Some(Box::new(look));
        self
    }

    /// Parameters, and the memory and work that the run would take: nothing is allocated, and no file is written.
    ///
    /// # Errors
    /// See [`TrainError`].
    pub fn plan(self) -> Result<Planned> {
        setup::plan(self)
    }

    /// Trains, or continues a run.
    ///
    /// # Errors
    /// See [`TrainError`]; whatever happens, the last good checkpoint stays.
    pub fn run(self) -> Result<Outcome> {
        ranks::train(self)
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// kNN accuracy before training, percent; none without labels.
    pub untrained: Option<f64>,
    /// kNN accuracy at the end, percent; none when interrupted or without labels.
    pub trained: Option<f64>,
    /// The run went to its end.
    pub finished: bool,
    /// Seconds.
    pub seconds: f64,
    /// SHA-256 of the parameters.
    pub weights: String,
}
