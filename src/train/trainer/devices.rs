//! What ranks settle about their devices: which are of one kind, the tiles of each kind, who owns which update, and
//! shares of a batch by speed.

use super::Job;
use super::stream::Stream;
use crate::comm::World;
use crate::config::{Config, method};
use crate::data::Split;
use crate::device::TileChoices;
use crate::graph::{Executor, StepScalars};
use crate::methods::Method;
use crate::run::event::Event;
use crate::train::session::{Session, open_executor};
use crate::train::{Result, TrainError, tune};
use std::time::{Duration, Instant};

/// How long ranks wait for one that times tiles for them.
const TUNING: Duration = Duration::from_secs(3600);

/// Steps before a rank's speed is measured, and the least that are measured, and for how long.
const WARM: u32 = 2;
const STEPS: u32 = 3;
const SECONDS: f64 = 1.0;

/// Most parts of a batch for each rank when shares follow speed. More fit better, and make smaller groups of batch
/// norm.
const PARTS: usize = 8;

/// Shares that are slower than the best by less than this are good enough.
const NEAR: f64 = 1.05;

/// What the roundings of an executor depend on.
fn kind(exec: &dyn Executor) -> String {
    if exec.device().is_some() {
        return exec.name();
    }
    #[cfg(target_arch = "x86_64")]
    let lanes = [
        is_x86_feature_detected!("avx512f"),
        is_x86_feature_detected!("avx2"),
        is_x86_feature_detected!("fma"),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let lanes = [false; 3];
    format!("CPU executor, {} {lanes:?}", std::env::consts::ARCH)
}

/// The rank whose tiles this one takes: the first of its kind.
fn leader(kinds: &[String], rank: usize) -> usize {
    kinds.iter().position(|k| *k == kinds[rank]).unwrap_or(rank)
}

/// How many equal parts of a batch each rank should have, by the images that each makes in a second: the fewest parts
/// that are within [`NEAR`] of the fastest step. None where one part each is.
fn by_speed(speeds: &[f64], batch: usize, micro_batches: usize) -> Option<Vec<usize>> {
    let ranks = speeds.len();
    let fits = |parts: &usize| {
        let groups = parts * micro_batches;
        batch.is_multiple_of(groups) && batch / groups >= 2
    };
    // Seconds of a step, for a batch of one image.
    let time = |shares: &[usize]| {
        let parts: usize = shares.iter().sum();
        let of = shares.iter().zip(speeds).map(|(n, v)| *n as f64 / v);
        of.fold(0.0, f64::max) / parts as f64
    };
    let all: Vec<Vec<usize>> = (ranks..=PARTS * ranks)
        .filter(fits)
        .map(|parts| {
            let mut shares = vec![1; ranks];
            for _ in ranks..parts {
                // The next part goes where it is done first.
                let done = |r: &usize| (shares[*r] + 1) as f64 / speeds[*r];
                let next = (0..ranks).min_by(|a, b| done(a).total_cmp(&done(b)));
                shares[next.unwrap_or(0)] += 1;
            }
            shares
        })
        .collect();
    let best = all.iter().map(|s| time(s)).fold(f64::INFINITY, f64::min);
    let shares = all.into_iter().find(|s| time(s) <= NEAR * best)?;
    shares.iter().any(|n| *n != shares[0]).then_some(shares)
}

impl Job<'_> {
    /// The kinds of all ranks' devices, in the ranks' order.
    pub(super) fn kinds(&self, exec: &dyn Executor) -> Result<Vec<String>> {
        let own = kind(exec).into_bytes();
        let all = self.world.all_gather_bytes("kinds of devices", own)?;
        let text = |b: &Vec<u8>| String::from_utf8_lossy(b).into_owned();
        Ok(all.iter().map(text).collect())
    }

    /// Unlike devices own the updates of a piece each.
    pub(super) fn own_updates(&mut self, kinds: &[String], stream: &mut Stream<'_>) -> Result<()> {
        let unlike = kinds.iter().any(|k| *k != kinds[0]);
        if !unlike || self.config.dist.owners {
            return Ok(());
        }
        self.config.dist.owners = true;
        stream.emit(Event::Note(
            "the ranks' devices are unlike and may round an update differently: each updates a piece of the parameters, \
             and gives it to the others (dist.owners)"
                .into(),
        ))
    }

    /// The tiles of all ranks' devices: the first rank of each kind has them, and those of its kind take its own, so
    /// that they add up in one order.
    pub(super) fn agreed_tiles(
        &self,
        (method, exec): (&dyn Method, &dyn Executor),
        kinds: &[String],
        stream: &mut Stream<'_>,
    ) -> Result<TileChoices> {
        let (world, rank) = (&self.world, self.world.rank());
        if world.is_alone() {
            return self.tiles(method, exec, self.resume, stream);
        }
        let mut own = Vec::new();
        let leads = leader(kinds, rank);
        if leads == rank {
            // The run's folder has those of the first rank's kind.
            let kept = self.resume && world.is_first();
            own = tune::record(&self.tiles(method, exec, kept, stream)?).into_bytes();
        }
        let patience = Duration::from_secs_f32(self.config.dist.timeout_s);
        world.set_patience(patience.max(TUNING));
        let all = world.all_gather_bytes("tiles", own)?;
        world.set_patience(patience);
        Ok(tune::of_record(&String::from_utf8_lossy(&all[leads])).unwrap_or_default())
    }

    /// Sets the shares of a batch by timing some steps of every rank's device, all at once.
    pub(super) fn time_shares(&mut self, split: &Split, stream: &mut Stream<'_>) -> Result<()> {
        if !self.timed_shares || self.world.is_alone() {
            return Ok(());
        }
        let made = self.speed(split);
        let own = self.world.agreed("timing of shares", made)?;
        let speeds = self.world.all_gather("timing of shares", &[own])?;
        let o = &self.config.optim;
        let shares = by_speed(&speeds, o.batch_size, o.micro_batches);
        let words: Vec<String> = speeds.iter().map(|v| format!("{v:.0}")).collect();
        let words = words.join(", ");
        let note = match &shares {
            Some(s) => format!(
                "the ranks make {words} images/s: shares {s:?} of a batch (dist.shares), in parts of {} images",
                o.batch_size / (s.iter().sum::<usize>() * o.micro_batches)
            ),
            None => format!("the ranks make {words} images/s: equal shares of a batch"),
        };
        stream.emit(Event::Note(note))?;
        self.config.dist.shares = shares.unwrap_or_default();
        self.cut()
    }

    /// Images that this rank's device makes in a second, in batches of an equal share.
    fn speed(&self, split: &Split) -> Result<f64> {
        let mut config: Config = self.config.clone();
        let images = config.optim.batch_size / self.world.ranks();
        (config.dist.ranks, config.optim.micro_batches) = (1, 1);
        config.optim.batch_size = images;
        let wrong = |e| {
            TrainError::Config(format!(
                "--shares auto times steps of {images} images, which cannot be: {e}"
            ))
        };
        let method = method::method(&config).map_err(wrong)?;
        let exec = open_executor(&self.device, &self.twins, config.optim.precision, |_| ())?;
        let of = (method.as_ref(), &World::default());
        let mut session = Session::of_rank(&config, of, exec, &split.train)?;
        let ids: Vec<u32> = (0..images as u32).collect();
        let mut run = |step: u32| {
            let scalars = StepScalars {
                step,
                ..StepScalars::default()
            };
            let pending = session.start(&split.train, &ids, &scalars)?;
            session.finish(&pending)
        };
        for step in 0..WARM {
            run(step)?;
        }
        let (begin, mut steps) = (Instant::now(), 0);
        while steps < STEPS || begin.elapsed().as_secs_f64() < SECONDS {
            run(WARM + steps)?;
            steps += 1;
        }
        let seconds = begin.elapsed().as_secs_f64();
        Ok(images as f64 * f64::from(steps) / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_speed_with_as_few_parts_as_will_do() {
        assert_eq!(by_speed(&[100.0, 100.0], 256, 1), None);
        assert_eq!(by_speed(&[100.0, 98.0], 256, 1), None);
        assert_eq!(by_speed(&[300.0, 100.0], 256, 1), Some(vec![3, 1]));
        assert_eq!(by_speed(&[100.0, 200.0], 96, 1), Some(vec![1, 2]));
        // Three parts do not divide the batch, four do.
        let shares = by_speed(&[100.0, 200.0], 256, 1).unwrap();
        assert!(256 % shares.iter().sum::<usize>() == 0 && shares[1] > shares[0]);
        // Nothing else can be cut: 2 images a part at least.
        assert_eq!(by_speed(&[100.0, 900.0], 4, 1), None);
        assert_eq!(by_speed(&[100.0, 900.0], 6, 2), None);
    }

    #[test]
    fn the_first_of_a_kind_leads() {
        let kinds = ["a", "b", "a", "b"].map(String::from);
        assert_eq!([0, 1, 2, 3].map(|r| leader(&kinds, r)), [0, 1, 0, 1]);
    }
}
