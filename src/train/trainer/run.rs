//! The training loop.

use super::progress::Progress;
use super::stream::Stream;
use super::{AtEnd, Job, Outcome, setup};
use crate::data::Split;
use crate::data::ahead::{Ahead, TRAINING};
use crate::data::sampler::Order;
use crate::eval::sheet;
use crate::graph::StepScalars;
use crate::graph::host::HostExecutor;
use crate::graph::watched::{Act, Calls};
use crate::methods::loss::RECONSTRUCTION;
use crate::run::checkpoint::{self, Position};
use crate::run::event::{Divergence, Evaluation, Event, KnnProtocol, RankTimes, Step, Summary};
use crate::run::folder;
use crate::train::health::{AlikeEpochs, DeadEpochs};
use crate::train::schedule::scalars;
use crate::train::session::{Pending, Session};
use crate::train::{Result, TrainError};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Steps under way: the host prepares and submits one while the device computes the other.
const IN_FLIGHT: usize = 2;

/// Steps of a profiled run of which it is noted what the host does.
const WATCHED: usize = 8;

/// Images whose views TensorBoard shows.
const VIEWS: usize = 8;

/// Steps that were skipped one after the other up to a run's end before the run counts as failed.
const TOO_MANY_SKIPPED: usize = 100;

/// Steps that mixed precision skipped since the program began.
#[derive(Default)]
pub(super) struct Skipped {
    /// In all.
    pub(super) all: usize,
    /// One after the other up to the newest step.
    row: usize,
    /// Loss and squared gradient norm of the newest of them.
    newest: (f32, f32),
}

/// A step that was submitted and not yet collected.
pub(super) struct Flight {
    pending: Pending,
    at: Position,
    scalars: StepScalars,
}

/// A run under way.
pub(super) struct Run<'a> {
    pub(super) job: Job<'a>,
    pub(super) at_end: Option<AtEnd<'a>>,
    pub(super) begin: Instant,
    pub(super) stream: Stream<'a>,
    pub(super) checkpoints: PathBuf,
    pub(super) split: Arc<Split>,
    /// The order of the samples of each epoch.
    pub(super) order: Order,
    /// Places in a batch of the samples that this rank takes.
    pub(super) places: Vec<usize>,
    /// The coming batches, where images are not in memory.
    pub(super) ahead: Option<Ahead>,
    pub(super) session: Session,
    /// The configuration as a run's file has it.
    pub(super) resolved: String,
    pub(super) protocol: KnnProtocol,
    pub(super) flights: VecDeque<Flight>,
    /// Where the calls of the first steps are noted, until these are over.
    pub(super) calls: Option<Calls>,
    /// The epoch under way.
    pub(super) progress: Progress,
    /// The reconstruction's loss in the run's first epoch, where hidden pixels are predicted.
    pub(super) first: Option<f64>,
    /// Gradient norms of all steps but skipped ones.
    pub(super) norms: Vec<f32>,
    pub(super) skipped: Skipped,
    pub(super) alarms: usize,
    /// Epochs in a row whose anchors were dead.
    pub(super) dead: DeadEpochs,
    /// Ends of epochs in a row at which temperatures were one value.
    pub(super) alike: AlikeEpochs,
    /// How long the run takes is known, or need not be: there is a GPU.
    pub(super) forecast: bool,
    /// Some rank was asked to stop, and all of them know.
    pub(super) stopping: bool,
}

impl Run<'_> {
    pub(super) fn labelled(&self) -> bool {
        setup::labelled(&self.split)
    }

    /// How long steps have waited for images.
    fn waited(&self) -> Duration {
        self.ahead.as_ref().map_or(Duration::ZERO, Ahead::waited)
    }

    /// How all ranks spent the epoch's `seconds`; none where there is one rank.
    pub(super) fn rank_times(&self, seconds: f64) -> Result<Vec<RankTimes>> {
        let world = &self.job.world;
        if world.is_alone() {
            return Ok(Vec::new());
        }
        let (now, before) = (world.times(), self.progress.exchanged);
        let since = |i: usize| now[i].saturating_sub(before[i]).as_secs_f64();
        let (waited, exchanged) = (since(0), since(1));
        let own = [seconds - waited, waited, exchanged];
        let all = world.all_gather("times", &own)?;
        let times = all.chunks_exact(3).map(|t| RankTimes {
            computed: t[0],
            waited: t[1],
            exchanged: t[2],
        });
        Ok(times.collect())
    }

    /// Steps of an epoch.
    fn steps(&self) -> usize {
        self.split.train.len() / self.job.config.optim.batch_size
    }

    /// Share of an epoch that is done before its last step.
    pub(super) fn last_share(&self) -> f64 {
        1.0 - 1.0 / self.steps().max(1) as f64
    }

    /// Trains to the end, or until it is asked to stop.
    pub(super) fn train(mut self) -> Result<Outcome> {
        if self.job.profile {
            self.profile()?;
        }
        let mut at = self.position()?;
        self.session.share_states()?;
        if !self.job.resume {
            self.save(at)?;
            self.stands()?;
        }
        let untrained = self.untrained()?;
        self.views(at)?;
        self.read_ahead(at)?;
        let mut last = None;
        let (epochs, every) = (
            self.job.config.run.epochs,
            self.job.config.run.checkpoint_every,
        );
        while at.epoch < epochs {
            if !self.epoch(&mut at)? {
                return self.stopped(at, untrained);
            }
            last = self.close(at)?.or(last);
            if at.epoch == epochs || at.epoch.is_multiple_of(every.max(1)) {
                self.save(at)?;
            }
        }
        if let Some(error) = self.in_vain(at)? {
            return Err(error);
        }
        let trained = match last {
            // A run that had ended before.
            None if self.labelled() => Some(self.knn()?.0),
            known => known,
        };
        self.finished(at, untrained, trained)
    }

    /// The error of a run at its end that trained nothing, or nothing at last, since its steps were skipped.
    fn in_vain(&mut self, at: Position) -> Result<Option<TrainError>> {
        let all = self.session.skipped_steps()?;
        let Some(which) = skipped_in_vain(at.step, all, self.skipped.row) else {
            return Ok(None);
        };
        let why = format!(
            "{which}, since their gradients overflow 16 bits, and a skipped step changes no weight: use \
             --precision f32, a smaller optim.lr or more epochs"
        );
        let (loss, norm2) = self.skipped.newest;
        Ok(Some(self.failed(at.step, (loss, norm2), why)?))
    }

    /// The new run has a checkpoint: what it replaces goes now.
    fn stands(&mut self) -> Result<()> {
        match self.stream.stands() {
            Ok(()) => Ok(()),
            Err(e) => self.stream.emit(Event::Note(format!(
                "the files of the run that this one replaces could not be removed: {e}"
            ))),
        }
    }

    fn stopped(mut self, at: Position, untrained: Option<f64>) -> Result<Outcome> {
        self.save(at)?;
        let (folder, device) = (self.job.out.clone(), self.job.device.clone());
        self.stream.emit(Event::Stopped { at, folder, device })?;
        self.outcome(untrained, None, false)
    }

    fn finished(
        mut self,
        at: Position,
        untrained: Option<f64>,
        trained: Option<f64>,
    ) -> Result<Outcome> {
        let outcome = self.outcome(untrained, trained, true)?;
        let (config, s) = (&self.job.config, &self.session);
        let summary = Summary {
            knn_top1: trained,
            knn_top1_untrained: untrained,
            protocol: self.protocol,
            epochs: config.run.epochs,
            steps: at.step,
            seconds: outcome.seconds,
            adapter: s.exec.name(),
            planned_bytes: s.planned_bytes(),
            allocated_bytes: s.exec.allocated_bytes(),
            scratch_bytes: s.exec.scratch_bytes(),
            alarms: self.alarms,
            precision: config.optim.precision,
            skipped_steps: self.skipped.all,
            weights_sha256: outcome.weights.clone(),
            version: env!("CARGO_PKG_VERSION"),
        };
        self.stream.emit(Event::Finished(Box::new(summary)))?;
        if let Some(look) = self.at_end.take() {
            look(&mut self.session, &self.split);
        }
        Ok(outcome)
    }

    fn outcome(
        &mut self,
        untrained: Option<f64>,
        trained: Option<f64>,
        finished: bool,
    ) -> Result<Outcome> {
        let s = &mut self.session;
        Ok(Outcome {
            untrained,
            trained,
            finished,
            seconds: self.begin.elapsed().as_secs_f64(),
            weights: checkpoint::weights_hash(s.exec.as_mut(), &s.model.states)?,
        })
    }

    /// Where to start: at the newest checkpoint, or at the beginning.
    fn position(&mut self) -> Result<Position> {
        if !self.job.resume {
            return Ok(Position::default());
        }
        let mut warnings = Vec::new();
        let (s, world) = (&mut self.session, &self.job.world);
        let loaded = world.is_first().then(|| {
            checkpoint::load_latest(&self.checkpoints, s.exec.as_mut(), &s.model.states, |w| {
                warnings.push(w);
            })
        });
        let loaded = world.agreed("checkpoint", loaded.transpose().map_err(TrainError::from))?;
        let at = self.job.position(loaded)?;
        self.stream.truncate(at)?;
        self.first = folder::previous_term(&self.job.out, RECONSTRUCTION);
        for w in warnings {
            self.stream.emit(Event::Note(w))?;
        }
        self.stream.emit(Event::Resumed(at))?;
        Ok(at)
    }

    /// kNN accuracy before training: measured, or read from the metrics of the run that is continued.
    fn untrained(&mut self) -> Result<Option<f64>> {
        if !self.labelled() {
            self.stream.emit(Event::Unlabelled)?;
            return Ok(None);
        }
        let known = match self.job.resume {
            true => self
                .job
                .known(|| folder::previous_untrained(&self.job.out))?,
            false => None,
        };
        let begin = Instant::now();
        let knn_top1 = match known {
            Some(v) => v,
            None => self.knn()?.0,
        };
        self.stream.emit(Event::Evaluated(Evaluation {
            at: Position::default(),
            knn_top1,
            untrained: true,
            remembered: known.is_some(),
            protocol: self.protocol,
            spread: None,
            seconds: begin.elapsed().as_secs_f64(),
        }))?;
        Ok(Some(knn_top1))
    }

    /// Shows augmented views, made on the host: a picture, which the memory plan of the run's device knows nothing of.
    fn views(&mut self, at: Position) -> Result<()> {
        if !self.job.world.is_first() {
            return Ok(());
        }
        let c = &self.job.config;
        let views = sheet::sheet(
            &c.augment,
            (c.model.image_size, c.run.seed, 0),
            &self.split.train,
            VIEWS,
            &mut HostExecutor::<f32>::new(),
        )?;
        self.stream.emit(Event::Views {
            step: at.step,
            side: views.image.dimensions(),
            png: views.png()?,
        })
    }

    fn save(&mut self, at: Position) -> Result<()> {
        let s = &mut self.session;
        s.agree_on_states()?;
        if !self.job.world.is_first() {
            return Ok(());
        }
        let path = checkpoint::save(
            &self.checkpoints,
            s.exec.as_mut(),
            &s.model.states,
            at,
            &self.resolved,
        )?;
        self.stream.emit(Event::Saved { at, path })
    }

    fn scalars(&self, at: Position) -> StepScalars {
        let ends = self
            .session
            .momentum
            .map(|m| (m, self.session.momentum_ahead));
        scalars(&self.job.config, at, self.steps(), ends)
    }

    /// Begins to read the batches from `at` to the run's end, where images are not in memory.
    fn read_ahead(&mut self, at: Position) -> Result<()> {
        let (order, steps) = (self.order.clone(), self.steps());
        let (batch, places) = (self.job.config.optim.batch_size, self.places.clone());
        let coming = (at.epoch..self.job.config.run.epochs).flat_map(move |epoch| {
            let order = order.of(epoch);
            let first = if epoch == at.epoch { at.batch } else { 0 };
            let of = |i| places.iter().map(|p| order[i * batch + p]).collect();
            (first..steps).map(of).collect::<Vec<Vec<u32>>>()
        });
        let most = self.places.len();
        self.ahead = Ahead::new(&self.split.train, coming, most, TRAINING)?;
        Ok(())
    }

    /// Waits for the images of a step, and tells what is new of those that cannot be read.
    fn fetch(&mut self, ids: &[u32]) -> Result<()> {
        let Some(ahead) = &mut self.ahead else {
            return Ok(());
        };
        let mut slow = Vec::new();
        let stream = &mut self.stream;
        let mut wait = || {
            ahead.next(ids, &mut |text| {
                slow.extend(stream.emit(Event::Note(text)).err());
            })
        };
        match &self.calls {
            Some(calls) => calls.of(Act::Fetch, wait)?,
            None => wait()?,
        }
        if let Some(e) = slow.pop() {
            return Err(e);
        }
        for line in self.split.train.new_faults() {
            self.stream.emit(Event::Note(line))?;
        }
        Ok(())
    }

    /// This rank's samples of a batch.
    fn samples(&self, order: &[u32], batch: usize) -> Vec<u32> {
        let n = self.job.config.optim.batch_size;
        self.places.iter().map(|p| order[batch * n + p]).collect()
    }

    /// Was this process asked to stop?
    fn asked_to_stop(&self) -> bool {
        let stop = self.job.stop;
        stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// Does the run stop here? Ranks do so together, at the step at which all of them know.
    fn stops(&self) -> bool {
        self.stopping || self.job.world.is_alone() && self.asked_to_stop()
    }

    /// Runs the rest of an epoch; false when it was asked to stop before its last step. An epoch whose steps are all
    /// done is ended and measured before a run stops: its last batch is at hand now, and not when the run goes on.
    fn epoch(&mut self, at: &mut Position) -> Result<bool> {
        let order = self.order.of(at.epoch);
        self.progress = Progress::new(at.batch, self.waited(), self.job.world.times());
        while at.batch < self.steps() && !self.stops() {
            let ids = self.samples(&order, at.batch);
            let scalars = self.scalars(*at);
            if let Some(calls) = &self.calls {
                calls.prepare(at.step as u32);
            }
            self.fetch(&ids)?;
            let images = Ahead::or(self.ahead.as_ref(), &self.split.train);
            let pending = self.session.start(images, &ids, &scalars)?;
            self.flights.push_back(Flight {
                pending,
                at: *at,
                scalars,
            });
            at.batch += 1;
            at.step += 1;
            while self.flights.len() >= IN_FLIGHT {
                self.settle()?;
            }
            if at.batch - self.progress.first > WATCHED {
                self.watched()?;
            }
        }
        while !self.flights.is_empty() {
            self.settle()?;
        }
        self.watched()?;
        if at.batch < self.steps() {
            return Ok(false);
        }
        *at = Position {
            epoch: at.epoch + 1,
            batch: 0,
            step: at.step,
        };
        Ok(true)
    }

    /// Tells what the host did for the first steps of a profiled run.
    fn watched(&mut self) -> Result<()> {
        let Some(calls) = self.calls.take() else {
            return Ok(());
        };
        let (calls, folder) = (calls.end(), self.job.out.clone());
        self.stream.emit(Event::Watched { calls, folder })
    }

    /// Collects the oldest step under way.
    fn settle(&mut self) -> Result<()> {
        let Some(f) = self.flights.pop_front() else {
            return Ok(());
        };
        let asked = self.asked_to_stop();
        let (ended, stop) = self.session.finish_or_stop(&f.pending, asked)?;
        self.stopping |= stop && !self.job.world.is_alone();
        if ended.failed {
            return Err(self.diverged(&f, ended.loss, ended.norm2)?);
        }
        let (config, p) = (&self.job.config, &self.progress);
        let (timed, elapsed) = (f.at.batch + 1 - p.first, p.begin.elapsed().as_secs_f64());
        let images = timed * config.optim.batch_size;
        let step = Step {
            epoch: f.at.epoch,
            epochs: config.run.epochs,
            step: f.at.step + 1,
            steps: self.split.train.len() / config.optim.batch_size * config.run.epochs,
            loss: ended.loss,
            terms: self
                .session
                .terms()
                .iter()
                .copied()
                .zip(ended.terms.iter().copied())
                .collect(),
            lr: f.scalars.lr,
            grad_norm: ended.norm2.sqrt(),
            images_per_s: images as f64 / elapsed,
            waited: self.ahead.as_ref().map(|a| {
                let since = a.waited().saturating_sub(p.waited);
                since.as_secs_f64() / elapsed
            }),
            loss_scale: ended.scale,
            skipped: ended.skipped(),
        };
        if step.skipped {
            // A smaller loss scale mends an overflow, but no weight. Skipped steps are few, so reading the weights at
            // each costs little.
            if let Some(name) = self.session.broken_parameter()? {
                let why =
                    format!("the weights of `{name}` are not finite, which no loss scale mends");
                return Err(self.failed(f.at.step, (ended.loss, ended.norm2), why)?);
            }
            let s = &mut self.skipped;
            (s.all, s.row, s.newest) = (s.all + 1, s.row + 1, (ended.loss, ended.norm2));
        } else {
            self.skipped.row = 0;
            self.progress.add(&step);
            self.norms.push(step.grad_norm);
        }
        let left = step.steps.saturating_sub(step.step);
        self.stream.emit(Event::Step(step))?;
        self.foretell(timed, elapsed, left)
    }

    /// The error of a step that is not finite. The optimiser has refused this step and those after it, so the weights
    /// are still those that made the value.
    fn diverged(&mut self, f: &Flight, loss: f32, norm2: f32) -> Result<TrainError> {
        let ids = self.samples(&self.order.of(f.at.epoch), f.at.batch);
        let why = self
            .session
            .explain_non_finite(&self.split.train, &ids, &f.scalars)?;
        self.failed(f.at.step, (loss, norm2), why)
    }

    /// Tells that a run has failed after `step` steps, for the reason `why`, and gives the error.
    fn failed(
        &mut self,
        step: usize,
        (loss, norm2): (f32, f32),
        why: String,
    ) -> Result<TrainError> {
        let divergence = Divergence {
            step,
            loss,
            norm2,
            why,
            checkpoints: self.checkpoints.clone(),
        };
        let error = TrainError::NonFinite(divergence.to_string());
        self.stream.emit(Event::Failed(divergence))?;
        Ok(error)
    }

    /// Times one step and puts every state back.
    fn profile(&mut self) -> Result<()> {
        let (order, scalars) = (self.order.of(0), self.scalars(Position::default()));
        let ids = self.samples(&order, 0);
        let timed = self
            .session
            .profile_step(&self.split.train, &ids, &scalars)?;
        let folder = self.job.out.clone();
        self.stream.emit(Event::Profiled { timed, folder })
    }

    /// kNN accuracy in percent, and the test features.
    pub(super) fn knn(&mut self) -> Result<(f64, Vec<f32>)> {
        let stream = &mut self.stream;
        self.session.knn(&self.split, &mut |done, all| {
            stream.show(&Event::Features { done, all });
        })
    }
}

/// Which steps of a run of `steps` were skipped, in words, if they are too many for a success: all, or the last `row`.
fn skipped_in_vain(steps: usize, all: usize, row: usize) -> Option<String> {
    if all > 0 && all == steps {
        return Some(format!("all {all} steps were skipped"));
    }
    (row >= TOO_MANY_SKIPPED).then(|| format!("the last {row} steps were skipped"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_may_skip_some_steps_but_not_all_or_the_last_hundred() {
        let said = |steps, all, row| skipped_in_vain(steps, all, row).unwrap_or_default();
        assert!(said(3, 3, 3).contains("all 3"));
        assert!(said(500, 120, 100).contains("the last 100"));
        for (steps, all, row) in [(3, 2, 2), (500, 499, 99), (500, 0, 0), (0, 0, 0)] {
            assert_eq!(said(steps, all, row), "", "{steps} {all} {row}");
        }
    }
}
