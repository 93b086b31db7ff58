//! What is done before the first step: data, device, tiles, compiling, initial weights, the run's folder.

use super::progress::Progress;
use super::run::{Run, Skipped};
use super::stream::Stream;
use super::{Job, Trainer};
use crate::config::method;
use crate::data::Split;
use crate::data::sampler::Order;
use crate::device::TileChoices;
use crate::graph::Executor;
use crate::graph::watched::{Calls, Watched};
use crate::methods::Method;
use crate::nn::import::{Named, fitting, import};
use crate::nn::{Backbone, Model, Part, Variable};
use crate::run::claim::{Claim, Purpose};
use crate::run::environment::{self, DataRecord, Planned, Prelude};
use crate::run::event::{Event, KnnProtocol};
use crate::run::folder;
use crate::run::weights;
use crate::train::health::{AlikeEpochs, DeadEpochs};
use crate::train::session::{Session, open_executor};
use crate::train::{Result, TrainError, tune};
use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

/// Fewer images than these make batch norm's statistics noisy.
const FEW_IMAGES: usize = 64;

/// Is there what kNN needs?
pub(super) fn labelled(split: &Split) -> bool {
    split.unmeasured().is_none()
}

impl<'a> Run<'a> {
    /// Makes a run ready for its first step. Until everything is compiled and in memory nothing is written and nothing
    /// is replaced, so that a run that cannot start leaves the folder as it was.
    pub(super) fn open(trainer: Trainer<'a>) -> Result<Self> {
        let begin = Instant::now();
        let Trainer {
            mut job,
            data,
            listener,
            at_end,
            ..
        } = trainer;
        let world = job.world.clone();
        let regrouped = job.method(job.named()?.as_deref())?.draws().regrouped;
        let starts_from = job.starts_from()?;
        // Rank 0 alone writes the folder.
        let claim = world
            .is_first()
            .then(|| Claim::take(&job.out, job.purpose()));
        let mut claim = world.agreed("folder", claim.transpose().map_err(TrainError::from))?;
        let mut stream = Stream::new(listener).of_rank(world.rank(), &job.out);
        if let Some(note) = claim.as_mut().and_then(|c| c.note.take()) {
            stream.emit(Event::Note(note))?;
        }
        let previous = job.resume.then(|| DataRecord::read(&job.out)).flatten();
        let mut path = None;
        let split = job.shared(|| match data {
            Some(split) => Ok(split),
            None => {
                let mut config = job.config.clone();
                if let Some(previous) = &previous {
                    config.data.path = previous.place(&config.data.path).into();
                }
                let split = stream.open_data(&config)?;
                path = Some(config.data.path);
                Ok(split)
            }
        })?;
        let read = begin.elapsed();
        let (how, seed) = (job.config.data.shuffle, job.config.run.seed);
        let order = Order::new(&split.train, how, job.config.optim.batch_size, seed)?;
        if regrouped.is_some() && order.is_by_blocks() {
            return Err(TrainError::Config(
                "method.shuffle_ranks: images are shuffled by blocks (data.shuffle), and a rank that makes keys of other \
                 ranks' images would read their blocks too: pack the set (amcl-wgpu data pack), set data.shuffle = \
                 \"full\", or leave method.shuffle_ranks out"
                    .into(),
            ));
        }
        job.time_shares(&split, &mut stream)?;
        let exec = world.agreed("device", job.device(&split, &mut stream))?;
        let kinds = job.kinds(exec.as_ref())?;
        job.own_updates(&kinds, &mut stream)?;
        // What was settled since may be part of what it is made of.
        let (named, world) = (job.named()?, job.world.clone());
        let record = job.record(&split, path.as_deref(), previous, &mut stream)?;
        if job.method.is_some() {
            let note = "the method is the caller's own: only a program that has it reads this run's checkpoints";
            stream.emit(Event::Note(note.into()))?;
        }
        job.same_data(&record)?;
        let method = job.method(named.as_deref())?;
        let places = job.places(&method.draws());
        job.planned(method, exec.as_ref(), &split, &mut stream)?;
        let choices = job.agreed_tiles((method, exec.as_ref()), &kinds, &mut stream)?;
        if let Some(device) = exec.device() {
            device.set_tiles(choices.clone());
        }
        stream.show(&Event::Compiling);
        let calls = job.profile.then(Calls::default);
        let exec: Box<dyn Executor> = match &calls {
            Some(calls) => Box::new(Watched::new(exec, calls.clone())),
            None => exec,
        };
        let of_rank = (method, &world);
        let mut session = Session::of_rank(&job.config, of_rank, exec, &split.train)?;
        if labelled(&split) {
            session.prepare_knn(&split)?;
        }
        let compile = begin.elapsed() - read;
        if let Some(path) = job.init.as_ref().filter(|_| !job.resume) {
            let encoder = method.encoder();
            start_from(path, (encoder, starts_from), &mut session, &mut stream)?;
        }
        let resolved = job.config.to_toml()?;
        let hardware = session.exec.limits().is_some_and(|l| !l.is_cpu);
        let memory = session.memory();
        let devices = job.devices(session.exec.as_ref())?;
        if let Some(claim) = claim {
            let folder = claim.enter()?;
            if !choices.listed.is_empty() || job.out.join(folder::TILES).exists() {
                folder.write(folder::TILES, &tune::record(&choices))?;
            }
            if !job.resume || job.config.dist.ranks > 1 {
                folder.write(folder::CONFIG, &resolved)?;
            }
            let before = Prelude {
                data: read,
                compile,
            };
            let mut environment =
                environment::describe(session.exec.as_ref(), &memory, before, &record);
            environment["decoders"] = job.config.data.decoder.versions().into();
            if devices.len() > 1 {
                environment["ranks"] = devices.into();
            }
            folder.write(folder::ENVIRONMENT, &format!("{environment:#}\n"))?;
            stream.attach(folder)?;
        }
        let checkpoints = folder::checkpoints(&job.out);
        let parameters = session.model.sizes().1;
        stream.emit(Event::Started { parameters, memory })?;
        let r = &job.config.run;
        let protocol = KnnProtocol {
            k: r.knn_k.min(split.bank().len()),
            t: r.knn_t,
            pool: method.encoder().vit().map(|v| v.pool),
        };
        Ok(Self {
            job,
            at_end,
            begin,
            stream,
            checkpoints,
            split,
            order,
            places,
            ahead: None,
            session,
            resolved,
            protocol,
            flights: VecDeque::new(),
            calls,
            progress: Progress::new(0, Duration::ZERO, [Duration::ZERO; 2]),
            first: None,
            norms: Vec::new(),
            skipped: Skipped::default(),
            alarms: 0,
            dead: DeadEpochs::default(),
            alike: AlikeEpochs::default(),
            forecast: hardware,
            stopping: false,
        })
    }
}

/// [`Trainer::plan`].
pub(super) fn plan(trainer: Trainer<'_>) -> Result<Planned> {
    let Trainer {
        job,
        data,
        listener,
        ..
    } = trainer;
    let named = job.named()?;
    let method = job.method(named.as_deref())?;
    job.starts_from()?;
    let mut stream = Stream::new(listener);
    let split = match data {
        Some(split) => split,
        None => stream.open_data(&job.config)?,
    };
    let exec = job.device(&split, &mut stream)?;
    job.planned(method, exec.as_ref(), &split, &mut stream)
}

impl Job<'_> {
    /// The configuration's method, where none is given.
    fn named(&self) -> Result<Option<Box<dyn Method>>> {
        match &self.method {
            Some(_) => {
                self.config.check_numbers()?;
                Ok(None)
            }
            None => Ok(Some(method::method(&self.config)?)),
        }
    }

    /// The method: the caller's own, or the one that the configuration names. What settings, method and encoder make
    /// impossible together is said here, before anything is opened.
    fn method<'m>(&'m self, named: Option<&'m dyn Method>) -> Result<&'m dyn Method> {
        let own = self.method.as_deref().map(|m| m as &dyn Method);
        let method = own
            .or(named)
            .ok_or_else(|| TrainError::Config("no method".into()))?;
        let model = method::declare_method(&self.config, method)?;
        if self.config.model.sync_bn && !model.has_batch_norm {
            return Err(TrainError::Config(format!(
                "model.sync_bn: neither {} nor its heads have batch norm, so that there is nothing to join: leave it out",
                self.config.model.encoder
            )));
        }
        Ok(method)
    }

    /// What is said where each rank's batch norm sees few images and the method suffers from it.
    fn small_norms(&self, method: &dyn Method) -> Result<Option<String>> {
        let c = &self.config;
        let (images, named) = (c.optim.batch_size / c.parts(), self.method.is_none());
        let few = c.dist.ranks > 1 && !c.model.sync_bn && images < FEW_IMAGES;
        let suffers = named && c.spec()?.needs_large_norm;
        if !few || !suffers || !method::declare_method(c, method)?.has_batch_norm {
            return Ok(None);
        }
        Ok(Some(format!(
            "batch norm takes {images} images at a time, which are few for {}: model.sync_bn = true takes those of all \
             ranks together",
            c.spec()?.title
        )))
    }

    /// Plans the run's memory, and tells of it.
    fn planned(
        &self,
        method: &dyn Method,
        exec: &dyn Executor,
        split: &Split,
        stream: &mut Stream<'_>,
    ) -> Result<Planned> {
        if let Some(note) = self.small_norms(method)? {
            stream.emit(Event::Note(note))?;
        }
        let of = (&split.train, labelled(split).then_some(split));
        let planned = Session::planned(&self.config, (method, &self.world), exec, of)?;
        stream.emit(Event::Planned(planned.clone()))?;
        Ok(planned)
    }

    /// What the folder is for.
    fn purpose(&self) -> Purpose {
        match (self.resume, self.overwrite) {
            (true, _) => Purpose::Resume,
            (false, true) => Purpose::Replace,
            (false, false) => Purpose::New,
        }
    }

    /// What the configuration's method starts from, where it cannot start from drawn weights.
    ///
    /// # Errors
    /// It cannot, and the run is given none.
    fn starts_from(&self) -> Result<Option<&'static str>> {
        if let Some(path) = self.init.as_ref().filter(|p| !p.exists()) {
            return Err(TrainError::Config(format!(
                "--init {}: there is nothing of this name; it names a run's folder, an export's, or a safetensors file",
                path.display()
            )));
        }
        if self.method.is_some() || self.resume {
            return Ok(None);
        }
        let spec = self.config.spec()?;
        match (spec.starts_from, &self.init) {
            (Some(what), None) => Err(TrainError::Config(format!(
                "{} starts from {what}: name a run of method mae, or a safetensors file, with --init",
                spec.name
            ))),
            (what, _) => Ok(what),
        }
    }

    /// Opens the device for the data, and tells of both.
    fn device(&self, split: &Split, stream: &mut Stream<'_>) -> Result<Box<dyn Executor>> {
        let optim = &self.config.optim;
        if split.train.len() < optim.batch_size {
            return Err(TrainError::Config(format!(
                "optim.batch_size {} exceeds the {} training images; use --batch-size {1} or less",
                optim.batch_size,
                split.train.len()
            )));
        }
        let epochs = self.config.run.epochs;
        let steps = (split.train.len() / optim.batch_size).checked_mul(epochs);
        if steps.is_none_or(|n| u32::try_from(n).is_err()) {
            return Err(TrainError::Config(format!(
                "{epochs} epochs of {} images in batches of {} are more than {} steps; use fewer epochs",
                split.train.len(),
                optim.batch_size,
                u32::MAX
            )));
        }
        let mut notes = self.notes.clone();
        notes.extend(optim.rate_in_words());
        let warmup = self.config.schedule.warmup_epochs;
        if !self.resume && warmup > epochs && epochs > 0 {
            notes.push(format!(
                "the run ends within its warm-up: schedule.warmup_epochs is {warmup}, run.epochs {epochs}, and the \
                 learning rate comes to {epochs}/{warmup} of its height at most"
            ));
        }
        let exec = open_executor(&self.device, &self.twins, optim.precision, |n| {
            notes.push(n);
        })?;
        stream.emit(Event::Data {
            description: split.description.clone(),
            warnings: split.warnings.clone(),
        })?;
        for note in notes {
            stream.emit(Event::Note(note))?;
        }
        let name = exec.name();
        stream.emit(Event::Device { name })?;
        Ok(exec)
    }

    /// The devices of all ranks, told where there are several.
    fn devices(&self, exec: &dyn Executor) -> Result<Vec<String>> {
        let all = self
            .world
            .all_gather_bytes("devices", exec.name().into_bytes())?;
        let text = |b: &Vec<u8>| String::from_utf8_lossy(b).into_owned();
        Ok(all.iter().map(text).collect())
    }

    /// The record of the data. Tells how they differ from those that a run which is continued was trained on so far.
    fn record(
        &self,
        split: &Split,
        path: Option<&str>,
        previous: Option<DataRecord>,
        stream: &mut Stream<'_>,
    ) -> Result<DataRecord> {
        let mut record = DataRecord::of(split, path);
        let Some(previous) = previous else {
            return Ok(record);
        };
        let changed = previous.changed(split);
        record.changes = previous.changes;
        if let Some(changed) = changed {
            stream.emit(Event::Note(format!(
                "data: they have changed since the run was last trained: {changed}. It goes on with what is there now"
            )))?;
            record.changes.push(changed);
        }
        if let Some(path) = path.filter(|p| *p != self.config.data.path) {
            stream.emit(Event::Note(format!(
                "data: there is nothing at {}; taken from where they were before, {path}",
                self.config.data.path
            )))?;
        }
        Ok(record)
    }

    /// The tiles of products and convolutions on a GPU: those that the run began with (`kept`), timed ones, or a
    /// table's.
    pub(super) fn tiles(
        &self,
        method: &dyn Method,
        exec: &dyn Executor,
        kept: bool,
        stream: &mut Stream<'_>,
    ) -> Result<TileChoices> {
        let Some(device) = exec.device() else {
            return Ok(TileChoices::default());
        };
        if kept {
            let mut note = None;
            let choices = tune::of_folder(&self.out, &mut |n| note = Some(n));
            if let Some(note) = note {
                stream.emit(Event::Note(note))?;
            }
            return Ok(choices);
        }
        if !self.autotune {
            return Ok(TileChoices::default());
        }
        let run = (&self.config, method);
        tune::of_method(device, &self.device, run, &mut |done, all| {
            stream.show(&Event::Tuning { done, all });
        })
    }
}

/// A file's tensors without those of heads that the model has too: it draws its own.
fn encoder_alone(model: &Model, mut file: Named, warnings: &mut Vec<String>) -> Named {
    let all = file.len();
    for v in model.variables().filter(|v| v.part != Part::Encoder) {
        file.remove(&v.name);
    }
    let count = all - file.len();
    if count > 0 {
        warnings.push(format!(
            "{count} tensors of heads in the given weights are left out: the run draws its own"
        ));
    }
    file
}

/// Takes over the weights of a run or file, and tells which. `whole`: what the method starts from, of which it needs
/// all tensors of the encoder.
fn start_from(
    path: &Path,
    (encoder, whole): (&dyn Backbone, Option<&str>),
    s: &mut Session,
    stream: &mut Stream<'_>,
) -> Result<()> {
    let mut warnings = Vec::new();
    let source = weights::of_any(path, |w| warnings.push(w))?;
    let named = fitting((&s.model, encoder), source, &mut |n| warnings.push(n))
        .map_err(|e| TrainError::Config(format!("{}: {e}", path.display())))?;
    let named = match whole {
        Some(_) => encoder_alone(&s.model, named, &mut warnings),
        None => named,
    };
    let report = import(&s.model, s.exec.as_mut(), &named)?;
    if report.loaded.is_empty() {
        return Err(TrainError::Config(format!(
            "{}: no tensor fits this model; the file's first is `{}`",
            path.display(),
            named.keys().next().map_or("", String::as_str)
        )));
    }
    if let Some(what) = whole {
        let lacks = |v: &&Variable| v.part == Part::Encoder && !report.loaded.contains(&v.name);
        let lacking: Vec<&str> = s
            .model
            .variables()
            .filter(lacks)
            .map(|v| v.name.as_str())
            .collect();
        if let Some(first) = lacking.first() {
            return Err(TrainError::Config(format!(
                "{}: {} tensors of {what} are missing there or of another shape, `{first}` among them: the run starts \
                 from all of them, so model.* must be as those weights have it",
                path.display(),
                lacking.len()
            )));
        }
    }
    for warning in warnings {
        stream.emit(Event::Note(warning))?;
    }
    let from = path.into();
    stream.emit(Event::Weights { from, report })
}
