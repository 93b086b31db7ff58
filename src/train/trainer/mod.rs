//! The training loop and the run folder.

mod epoch;

use super::schedule::{learning_rate, momentum, tau_scale};
use super::session::{Pending, Session, open_executor};
use super::{Config, Result, TrainError, profile, tune};
use crate::data::{Split, sampler};
use crate::device::{Choice, TileChoices};
use crate::eval::sheet;
use crate::graph::StepScalars;
use crate::graph::host::HostExecutor;
use crate::nn::import::{import, without_prefix};
use crate::run::checkpoint::{self, Position};
use crate::run::environment::{self, Prelude};
use crate::run::folder::{self, RunFolder};
use crate::run::weights;
use serde_json::json;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Steps under way: the host prepares and submits one while the device computes the other.
const IN_FLIGHT: usize = 2;

/// Images whose views TensorBoard shows.
const VIEWS: usize = 8;

/// What to run and where.
pub struct Request<'a> {
    /// Configuration.
    pub config: Config,
    /// Device.
    pub device: Choice,
    /// Run folder.
    pub out: PathBuf,
    /// Continue the run that is there.
    pub resume: bool,
    /// Replace the run that is there.
    pub overwrite: bool,
    /// Time every kernel of one step before training.
    pub profile: bool,
    /// On a GPU, choose the tiles of products and convolutions by timing them; else by a table.
    pub autotune: bool,
    /// Ops to run by their twins on the host.
    pub twins: Vec<String>,
    /// Set when the user wants to stop: the run saves and ends.
    pub stop: &'a AtomicBool,
    /// Told every line for people.
    pub tell: &'a mut dyn FnMut(&str),
    /// Told the progress of decoding: images done, images in all.
    pub decoding: Box<dyn Fn(usize, usize) + Sync + 'a>,
    /// Told the progress of the run (steps done, steps in all) or of an evaluation, with a short text.
    pub progress: &'a mut dyn FnMut(usize, usize, &str),
    /// Called after every epoch, when its records are written.
    pub epoch_end: &'a mut dyn FnMut(),
    /// Weights to start from: a run, an exported folder or a safetensors file.
    pub init: Option<PathBuf>,
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

/// A step that was submitted and not yet collected.
struct Flight {
    pending: Pending,
    at: Position,
    scalars: StepScalars,
}

/// A run under way.
struct Run<'a> {
    request: Request<'a>,
    folder: RunFolder,
    split: Split,
    session: Session,
    resolved: String,
    protocol: String,
    flights: VecDeque<Flight>,
    norms: Vec<f32>,
    loss_sum: f64,
    /// Steps of the epoch that it is the sum of: all but those that mixed precision skipped.
    summed: u32,
    /// Steps that mixed precision skipped since the program began.
    skipped: usize,
    /// Start of the epoch's clock, and the batch it started at.
    clock: (Instant, usize),
    alarms: usize,
}

/// Trains, or continues a run.
///
/// # Errors
/// See [`TrainError`]; whatever happens, the last good checkpoint stays.
pub fn train(r: Request<'_>) -> Result<Outcome> {
    let begin = Instant::now();
    if !r.resume {
        folder::claim(&r.out, r.overwrite)?;
    }
    let c = &r.config;
    let reader = &r.decoding;
    let split = c.open_data(&|done, all| reader(done, all))?;
    let data = begin.elapsed();
    let mut lines = vec![format!("data: {}", split.description)];
    lines.extend(split.warnings.iter().map(|w| format!("data: {w}")));
    if split.train.len() < c.optim.batch_size {
        return Err(TrainError::Config(format!(
            "optim.batch_size {} exceeds the {} training images; use --batch-size {1} or less",
            c.optim.batch_size,
            split.train.len()
        )));
    }
    let exec = open_executor(&r.device, &r.twins, r.config.optim.precision, |n| {
        lines.push(n)
    })?;
    lines.push(format!("device: {}", exec.name()));
    lines.iter().for_each(|l| (r.tell)(l));
    let choices = match exec.device() {
        Some(_) if r.resume => tune::of_folder(&r.out, &mut |l| (r.tell)(&l)),
        Some(device) if r.autotune => {
            let progress = &mut *r.progress;
            tune::of_run(device, &r.device, c, &mut |done, all| {
                progress(done, all, "timing the kernels' tiles, once for this GPU");
            })?
        }
        _ => TileChoices::default(),
    };
    if let Some(device) = exec.device() {
        device.set_tiles(choices.clone());
    }
    (r.progress)(0, 1, "compiling kernels and sending the data");
    let mut session = Session::new(c, exec, &split.train)?;
    if labelled(&split) {
        session.prepare_knn(&split)?;
    }
    let compile = begin.elapsed() - data;
    // Before the run's folder is made: weights that do not fit leave nothing behind.
    if let Some(path) = r.init.as_ref().filter(|_| !r.resume) {
        let from = lines.len();
        start_from(path, &mut session, &mut lines)?;
        lines[from..].iter().for_each(|l| (r.tell)(l));
    }
    let resolved = c.to_toml()?;
    let protocol = format!(
        "kNN k={} t={} cosine, backbone features, test transform, running statistics",
        c.run.knn_k.min(split.bank().len()),
        c.run.knn_t
    );
    let mut folder = RunFolder::open(&r.out)?;
    // A run that replaces another must not leave the other's choice.
    if !choices.listed.is_empty() || r.out.join(folder::TILES).exists() {
        folder.write(folder::TILES, &tune::record(&choices))?;
    }
    for l in &lines {
        folder.log(l)?;
    }
    let (name, memory) = (session.exec.name(), session.memory());
    let environment = environment::describe(&name, memory, Prelude { data, compile });
    folder.write("environment.json", &format!("{environment:#}\n"))?;
    let mut run = Run {
        request: r,
        folder,
        split,
        session,
        resolved,
        protocol,
        flights: VecDeque::new(),
        norms: Vec::new(),
        loss_sum: 0.0,
        summed: 0,
        skipped: 0,
        clock: (begin, 0),
        alarms: 0,
    };
    run.go(begin)
}

/// Is there what kNN needs?
fn labelled(split: &Split) -> bool {
    !split.classes.is_empty() && !split.test.is_empty()
}

/// Takes over the weights of a run or file, and says which.
fn start_from(path: &Path, s: &mut Session, lines: &mut Vec<String>) -> Result<()> {
    let named = weights::of_any(path, |w| lines.push(w))?;
    let named = without_prefix(&s.model, named)
        .map_err(|e| TrainError::Config(format!("{}: {e}", path.display())))?;
    let report = import(&s.model, s.exec.as_mut(), &named)?;
    if report.loaded.is_empty() {
        return Err(TrainError::Config(format!(
            "{}: no tensor fits this model; the file's first is `{}`",
            path.display(),
            named.keys().next().map_or("", String::as_str)
        )));
    }
    lines.push(format!(
        "weights from {}: {}",
        path.display(),
        report.summary()
    ));
    Ok(())
}

impl Run<'_> {
    fn tell(&mut self, line: &str) -> Result<()> {
        (self.request.tell)(line);
        Ok(self.folder.log(line)?)
    }

    fn labelled(&self) -> bool {
        labelled(&self.split)
    }

    fn steps(&self) -> usize {
        self.split.train.len() / self.request.config.optim.batch_size
    }

    fn go(&mut self, begin: Instant) -> Result<Outcome> {
        let line = format!("model: {} parameters", self.session.model.sizes().1);
        self.tell(&line)?;
        for line in self.session.memory_report().lines() {
            self.tell(line)?;
        }
        if self.request.profile {
            self.profile()?;
        }
        let mut at = self.position()?;
        let untrained = self.untrained()?;
        if !self.request.resume {
            self.save(at)?;
        }
        let c = &self.request.config;
        let views = sheet::sheet(
            &c.augment,
            (c.model.image_size, c.run.seed, 0),
            &self.split.train,
            VIEWS,
            // On the host: a picture, which the memory plan of the run's device knows nothing of.
            &mut HostExecutor::<f32>::new(),
        )?;
        self.folder
            .image(at.step, "views", views.image.dimensions(), &views.png()?)?;
        let mut last = None;
        let epochs = self.request.config.run.epochs;
        while at.epoch < epochs {
            if !self.epoch(&mut at)? {
                self.save(at)?;
                // A run that is continued elsewhere does not end with the same bits.
                let device = match &self.request.device {
                    Choice::Auto => String::new(),
                    other => format!(" --device {other}"),
                };
                let line = format!(
                    "stopped at epoch {}, batch {}; continue with: amcl-wgpu train --resume {}{device}",
                    at.epoch,
                    at.batch,
                    self.request.out.display()
                );
                self.tell(&line)?;
                return self.outcome(begin, untrained, None, false);
            }
            last = self.report(at)?.or(last);
            self.folder.csv()?;
            (self.request.epoch_end)();
            let every = self.request.config.run.checkpoint_every.max(1);
            if at.epoch == epochs || at.epoch % every == 0 {
                self.save(at)?;
            }
        }
        let trained = match last {
            None if self.labelled() => Some(self.knn()?.0),
            v => v,
        };
        let outcome = self.outcome(begin, untrained, trained, true)?;
        let s = &self.session;
        let summary = json!({
            "knn_top1": trained, "knn_top1_untrained": untrained, "protocol": self.protocol, "epochs": epochs, "steps": at.step,
            "seconds": outcome.seconds, "adapter": s.exec.name(), "planned_bytes": s.planned_bytes(), "allocated_bytes": s.exec.allocated_bytes(), "scratch_bytes": s.exec.scratch_bytes(),
            "alarms": self.alarms, "precision": self.request.config.optim.precision, "skipped_steps": self.skipped, "weights_sha256": outcome.weights, "version": env!("CARGO_PKG_VERSION"),
        });
        self.folder
            .write("summary.json", &format!("{summary:#}\n"))?;
        Ok(outcome)
    }

    fn outcome(
        &mut self,
        begin: Instant,
        untrained: Option<f64>,
        trained: Option<f64>,
        finished: bool,
    ) -> Result<Outcome> {
        let s = &mut self.session;
        Ok(Outcome {
            untrained,
            trained,
            finished,
            seconds: begin.elapsed().as_secs_f64(),
            weights: checkpoint::weights_hash(s.exec.as_mut(), &s.model.states)?,
        })
    }

    /// Where to start: at the newest checkpoint, or at the beginning.
    fn position(&mut self) -> Result<Position> {
        if !self.request.resume {
            self.folder.write("config.toml", &self.resolved)?;
            return Ok(Position::default());
        }
        let mut warnings = Vec::new();
        let s = &mut self.session;
        let at = checkpoint::load_latest(
            &self.folder.checkpoints(),
            s.exec.as_mut(),
            &s.model.states,
            |w| warnings.push(w),
        )?;
        self.folder.truncate(at)?;
        warnings.push(format!(
            "resuming at epoch {}, batch {}",
            at.epoch, at.batch
        ));
        for w in &warnings {
            self.tell(w)?;
        }
        Ok(at)
    }

    /// kNN accuracy before training: measured, or read from the metrics of the run that is continued.
    fn untrained(&mut self) -> Result<Option<f64>> {
        if !self.labelled() {
            self.tell("no labels or no test images: kNN accuracy is not measured")?;
            return Ok(None);
        }
        let known = folder::previous_untrained(&self.request.out);
        let v = match known {
            Some(v) if self.request.resume => v,
            _ => {
                let (v, _) = self.knn()?;
                self.folder.record(
                    &json!({"kind": "eval", "epoch": 0, "step": 0, "knn_top1": v, "untrained": true, "protocol": self.protocol}),
                )?;
                v
            }
        };
        let line = format!("untrained {v:.1} % ({})", self.protocol);
        self.tell(&line)?;
        Ok(Some(v))
    }

    fn save(&mut self, at: Position) -> Result<()> {
        let s = &mut self.session;
        checkpoint::save(
            &self.folder.checkpoints(),
            s.exec.as_mut(),
            &s.model.states,
            at,
            &self.resolved,
        )?;
        Ok(())
    }

    fn scalars(&self, at: Position) -> StepScalars {
        let c = &self.request.config;
        let warm = at.epoch < c.amcl.switches.warmup_epochs;
        StepScalars {
            seed_lo: c.run.seed as u32,
            seed_hi: (c.run.seed >> 32) as u32,
            epoch: at.epoch as u32,
            step: at.step as u32,
            flags: if warm { StepScalars::WARMUP } else { 0 },
            lr: learning_rate(c, at.epoch),
            ema: self.session.momentum.map_or(0.0, |ends| {
                momentum(ends, at.step, self.steps() * c.run.epochs)
            }),
            tau_scale: tau_scale(c, at.step as f64 / self.steps() as f64),
            ..StepScalars::default()
        }
    }

    fn order(&self, epoch: usize) -> Vec<u32> {
        sampler::permutation(
            self.split.train.len(),
            self.request.config.run.seed,
            epoch as u32,
        )
    }

    fn samples(&self, order: &[u32], batch: usize) -> Vec<u32> {
        let n = self.request.config.optim.batch_size;
        order[batch * n..(batch + 1) * n].to_vec()
    }

    /// Runs the rest of an epoch; false when it was asked to stop.
    fn epoch(&mut self, at: &mut Position) -> Result<bool> {
        let order = self.order(at.epoch);
        self.clock = (Instant::now(), at.batch);
        (self.loss_sum, self.summed) = (0.0, 0);
        while at.batch < self.steps() {
            let ids = self.samples(&order, at.batch);
            let scalars = self.scalars(*at);
            let pending = self.session.start(&self.split.train, &ids, &scalars)?;
            self.flights.push_back(Flight {
                pending,
                at: *at,
                scalars,
            });
            at.batch += 1;
            at.step += 1;
            let stop = self.request.stop.load(Ordering::Relaxed);
            while self.flights.len() >= if stop { 1 } else { IN_FLIGHT } {
                self.settle()?;
            }
            if stop {
                return Ok(false);
            }
        }
        while !self.flights.is_empty() {
            self.settle()?;
        }
        // Not a number where every step was skipped.
        self.loss_sum /= f64::from(self.summed);
        *at = Position {
            epoch: at.epoch + 1,
            batch: 0,
            step: at.step,
        };
        Ok(true)
    }

    /// Collects the oldest step under way and records it.
    fn settle(&mut self) -> Result<()> {
        let Some(f) = self.flights.pop_front() else {
            return Ok(());
        };
        let step = self.session.finish(&f.pending)?;
        let (loss, norm2) = (step.loss, step.norm2);
        if step.failed {
            // The optimiser has refused this step and those after it, so the weights are still those that made the value.
            let ids = self.samples(&self.order(f.at.epoch), f.at.batch);
            let why = self
                .session
                .explain_non_finite(&self.split.train, &ids, &f.scalars)?;
            let message = format!(
                "step {}: loss {loss}, squared gradient norm {norm2}: {why}. The last good checkpoint is in {}",
                f.at.step,
                self.folder.checkpoints().display()
            );
            self.folder.log(&message)?;
            return Err(TrainError::NonFinite(message));
        }
        let (started, first) = self.clock;
        let done = f.at.batch + 1 - first;
        let n = self.request.config.optim.batch_size;
        let rate = (done * n) as f64 / started.elapsed().as_secs_f64();
        let norm = norm2.sqrt();
        let (scale, skipped) = (step.scale, step.skipped());
        let (step, lr) = (f.at.step + 1, f.scalars.lr);
        let mut record = json!({"kind": "step", "epoch": f.at.epoch, "step": step, "loss": loss, "lr": lr, "grad_norm": norm, "images_per_s": rate});
        let mut values = vec![("lr", lr), ("images_per_s", rate as f32)];
        if let Some(s) = scale {
            record["loss_scale"] = json!(s);
            record["skipped"] = json!(skipped);
            values.push(("loss_scale", s));
        }
        self.folder.record(&record)?;
        if skipped {
            self.skipped += 1;
            self.folder.log(&format!(
                "step {step} is skipped: its gradient overflows 16 bits; the loss scale is now {}",
                scale.unwrap_or(1.0)
            ))?;
        } else {
            self.loss_sum += f64::from(loss);
            self.summed += 1;
            self.norms.push(norm);
            values.extend([("loss", loss), ("grad_norm", norm)]);
        }
        self.folder.scalars(step, &values)?;
        let epochs = self.request.config.run.epochs;
        let text = format!(
            "epoch {}/{epochs} loss {loss:.4} {rate:.0} images/s",
            f.at.epoch + 1
        );
        let all = self.steps() * epochs;
        (self.request.progress)(step, all, &text);
        Ok(())
    }

    /// Times one step and puts every state back.
    fn profile(&mut self) -> Result<()> {
        let (order, scalars) = (self.order(0), self.scalars(Position::default()));
        let ids = self.samples(&order, 0);
        let timed = self
            .session
            .profile_step(&self.split.train, &ids, &scalars)?;
        self.folder.write("trace.json", &profile::trace(&timed))?;
        for line in profile::table(&timed).lines() {
            self.tell(line)?;
        }
        let path = self.request.out.join("trace.json");
        self.tell(&format!(
            "trace of one step: {} (open it at https://ui.perfetto.dev)",
            path.display()
        ))
    }
}
