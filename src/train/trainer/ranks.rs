//! What ranks that train together have to settle between them: the configuration, data, states, and when to stop.

use super::run::Run;
use super::{Job, Outcome, Trainer};
use crate::comm::{Comm, CommError, World, threads};
use crate::data::Split;
use crate::device::Choice;
use crate::methods::Draws;
use crate::run::checkpoint::Position;
use crate::run::environment::DataRecord;
use crate::train::{Result, TrainError};
use rayon::ThreadPoolBuilder;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Where ranks of one process find the images that the first of them has opened.
pub(super) type Shared = Arc<OnceLock<Arc<Split>>>;

/// The numbers up to `n` that divide it.
fn divisors(n: usize) -> String {
    let all = (1..=n).filter(|d| n.is_multiple_of(*d));
    all.map(|d| d.to_string()).collect::<Vec<_>>().join(", ")
}

impl Job<'_> {
    /// Sets the configuration to the ranks that there are. A run that is continued keeps the parts of its batches, so
    /// that batch norm sees the same groups: each rank has more or fewer of them.
    ///
    /// # Errors
    /// Ranks that cannot have equal numbers of these parts.
    pub(super) fn set_ranks(&mut self) -> Result<()> {
        let patience = Duration::from_secs_f32(self.config.dist.timeout_s);
        self.world.set_patience(patience);
        let (ranks, parts, c) = (self.world.ranks(), self.config.parts(), &mut self.config);
        let before = std::mem::replace(&mut c.dist.ranks, ranks);
        let shares = &mut c.dist.shares;
        if !(shares.is_empty() || shares.len() == ranks) {
            if !self.resume {
                return Err(TrainError::Config(format!(
                    "dist.shares has {} numbers and there are {ranks} ranks: give one number a rank, or none",
                    shares.len()
                )));
            }
            shares.clear();
        }
        if before == ranks {
            return self.cut();
        }
        if !self.resume {
            // A file of a run of several ranks may be where this one's settings are from.
            if before > 1 {
                self.notes.push(format!(
                    "dist.ranks is {before} in the configuration, and this run has {ranks}: how many there are, is said by \
                     --devices or mpirun"
                ));
            }
            return self.cut();
        }
        if c.model.sync_bn {
            self.notes.push(format!(
                "the run was trained on {before} ranks and goes on on {ranks}: the same samples in the same order, and the \
                 same batch norm, with other roundings"
            ));
            return self.cut();
        }
        if !parts.is_multiple_of(ranks) {
            return Err(TrainError::Config(format!(
                "the run was trained on {before} ranks, in {parts} parts of a batch, and {ranks} ranks cannot have \
                 equal numbers of them: continue it on one of {}",
                divisors(parts)
            )));
        }
        c.optim.micro_batches = parts / ranks;
        self.notes.push(format!(
            "the run was trained on {before} ranks and goes on on {ranks}, of {} micro-batches each: the same samples \
             in the same order, with other roundings",
            c.optim.micro_batches
        ));
        self.cut()
    }

    /// Gives each rank its share of a batch.
    pub(super) fn cut(&mut self) -> Result<()> {
        if !self.config.dist.shares.is_empty() {
            let world = std::mem::take(&mut self.world);
            self.world = world.with_shares(&self.config.dist.shares)?;
        }
        Ok(())
    }

    /// The images: those that the first rank of this process opens, or this rank's own.
    pub(super) fn shared(&self, open: impl FnOnce() -> Result<Split>) -> Result<Arc<Split>> {
        let Some(shared) = &self.shared else {
            return Ok(Arc::new(open()?));
        };
        let opened = match self.world.is_first() {
            true => open().map(|split| drop(shared.set(Arc::new(split)))),
            false => Ok(()),
        };
        self.world.agreed("data", opened)?;
        let missing = || CommError::Engine("the first rank has opened no data".into());
        Ok(shared.get().ok_or_else(missing)?.clone())
    }

    /// All ranks must have the same data, wherever they read them.
    pub(super) fn same_data(&self, record: &DataRecord) -> Result<()> {
        if self.world.is_alone() {
            return Ok(());
        }
        let own = serde_json::to_vec(&record.fingerprint).unwrap_or_default();
        let all = self.world.all_gather_bytes("data's digest", own)?;
        match all.iter().position(|f| *f != all[0]) {
            None => Ok(()),
            Some(rank) => Err(TrainError::Config(format!(
                "rank {rank} has other data than rank 0: {} and {}",
                String::from_utf8_lossy(&all[rank]),
                String::from_utf8_lossy(&all[0])
            ))),
        }
    }

    /// Where this rank's samples stand in a batch.
    pub(super) fn own(&self) -> Range<usize> {
        self.config.share(self.world.rank())
    }

    /// Where the samples that this rank takes stand in a batch: its own, and those whose further views it makes.
    pub(super) fn places(&self, draws: &Draws) -> Vec<usize> {
        draws.places(self.own(), self.config.optim.batch_size, self.world.rank())
    }

    /// Where a run that is continued stands, as the first rank has read it.
    pub(super) fn position(&self, read: Option<Position>) -> Result<Position> {
        if self.world.is_alone() {
            return Ok(read.unwrap_or_default());
        }
        let own = || {
            let at = read.unwrap_or_default();
            let words = [at.epoch, at.batch, at.step].map(|n| n as u64);
            bytemuck::cast_slice(&words).to_vec()
        };
        let bytes = self.world.from_first("position", own)?;
        let words = bytemuck::pod_collect_to_vec::<u8, u64>(&bytes);
        Ok(Position {
            epoch: words[0] as usize,
            batch: words[1] as usize,
            step: words[2] as usize,
        })
    }

    /// A number that the first rank may know.
    pub(super) fn known(&self, own: impl FnOnce() -> Option<f64>) -> Result<Option<f64>> {
        if self.world.is_alone() {
            return Ok(own());
        }
        let bytes = || own().map_or(Vec::new(), |v| v.to_le_bytes().into());
        let bytes = self.world.from_first("accuracy", bytes)?;
        Ok(bytes.try_into().ok().map(f64::from_le_bytes))
    }

    /// The job of another rank of this process.
    fn of_rank<'b>(&self, device: Choice, world: World) -> Job<'b>
    where
        Self: 'b,
    {
        Job {
            config: self.config.clone(),
            device,
            out: self.out.clone(),
            resume: self.resume,
            overwrite: self.overwrite,
            profile: self.profile,
            autotune: self.autotune,
            twins: self.twins.clone(),
            init: self.init.clone(),
            method: None,
            stop: None,
            notes: Vec::new(),
            timed_shares: self.timed_shares,
            world,
            shared: self.shared.clone(),
        }
    }
}

/// A rank that runs: what it gives, or why not.
fn rank(mut trainer: Trainer<'_>, threads: usize) -> Result<Outcome> {
    let world = trainer.job.world.clone();
    let of_rank = move || {
        trainer.job.set_ranks()?;
        Run::open(trainer)?.train()
    };
    // A rank waits for the others inside its pool, so that each needs one of its own.
    let done = match threads {
        0 => of_rank(),
        n => {
            let no_pool = |e| TrainError::Config(format!("no threads for a rank: {e}"));
            ThreadPoolBuilder::new()
                .num_threads(n)
                .build()
                .map_err(no_pool)?
                .install(of_rank)
        }
    };
    if let Err(e) = &done {
        world.leave(&e.to_string());
    }
    done
}

/// Trains the rank that the job is, or all of them where it names several devices.
pub(super) fn train(mut trainer: Trainer<'_>) -> Result<Outcome> {
    if trainer.devices.is_empty() {
        return rank(trainer, 0);
    }
    let devices = std::mem::take(&mut trainer.devices);
    if trainer.job.method.is_some() || !trainer.job.world.is_alone() {
        return Err(TrainError::Config(
            "several devices of one process train a method of the configuration, and no rank of others: give each rank \
             one device"
                .into(),
        ));
    }
    let patience = Duration::from_secs_f32(trainer.job.config.dist.timeout_s);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let each = (cores / devices.len()).max(1);
    trainer.job.shared = Some(Shared::default());
    let mut ranks = Vec::new();
    for (engine, device) in threads::ranks(devices.len()).into_iter().zip(&devices) {
        let world = World::new(patience, || Ok(Box::new(engine) as Box<dyn Comm>))?;
        ranks.push((device.clone(), world));
    }
    let mut trainers: Vec<Trainer<'_>> = ranks
        .iter()
        .skip(1)
        .map(|(device, world)| Trainer::of_job(trainer.job.of_rank(device.clone(), world.clone())))
        .collect();
    let (device, world) = ranks.swap_remove(0);
    (trainer.job.device, trainer.job.world) = (device, world);
    drop(ranks);
    trainers.insert(0, trainer);
    let ended: Vec<Result<Outcome>> = std::thread::scope(|s| {
        let spawned: Vec<_> = trainers
            .into_iter()
            .map(|t| s.spawn(move || rank(t, each)))
            .collect();
        let joined = spawned.into_iter().enumerate();
        joined
            .map(|(rank, t)| t.join().unwrap_or_else(|e| Err(panicked(rank, e.as_ref()))))
            .collect()
    });
    first_cause(ended, &devices)
}

/// The error of a rank that panicked.
fn panicked(rank: usize, payload: &(dyn std::any::Any + Send)) -> TrainError {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let why = text.or_else(|| payload.downcast_ref::<&str>().copied());
    CommError::Gone {
        rank,
        why: format!("it panicked: {}", why.unwrap_or("without words")),
    }
    .into()
}

/// What the first rank gives; or the error that made the others end, with the rank that had it.
fn first_cause(ended: Vec<Result<Outcome>>, devices: &[Choice]) -> Result<Outcome> {
    let follows = |e: &TrainError| matches!(e, TrainError::Ranks(CommError::Gone { .. }));
    let mut first = None;
    let (mut cause, mut other) = (None, None);
    for (rank, done) in ended.into_iter().enumerate() {
        match done {
            Ok(outcome) if rank == 0 => first = Some(outcome),
            Ok(_) => (),
            Err(e) if follows(&e) => other = other.or(Some(e)),
            Err(e) if cause.is_none() => cause = Some((rank, e)),
            Err(_) => (),
        }
    }
    match (cause, other, first) {
        (Some((0, e)), ..) => Err(e),
        (Some((rank, e)), ..) => Err(TrainError::Config(format!(
            "rank {rank} ({}): {e}",
            devices[rank]
        ))),
        (None, Some(e), _) => Err(e),
        (None, None, Some(outcome)) => Ok(outcome),
        (None, None, None) => Err(TrainError::Config("no rank trained".into())),
    }
}
