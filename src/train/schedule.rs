//! What changes from epoch to epoch: learning rate, temperature, decay of the momentum encoder.

use crate::config::{Config, Moves, Schedule};
use crate::graph::StepScalars;
use crate::run::checkpoint::Position;

/// Learning rate of a step, a share `done` of whose epoch is done: linear warm-up, then a cosine to `schedule.min_lr`.
///
/// By steps, e = epoch + done is in (lr e/W, then min + (lr - min) (1 + cos(pi (e - W)/(E - W)))/2), so that the first
/// step of a warm-up has rate 0 (MAE's and MoCo v3's code). By epochs, e is the epoch, but a warm-up's stairs begin at
/// lr/W.
pub fn learning_rate(c: &Config, epoch: usize, done: f64) -> f32 {
    let (s, warm) = (&c.schedule, c.schedule.warmup_epochs);
    let (lr, least) = (f64::from(c.optim.rate()), f64::from(s.min_lr));
    let e = match s.moves {
        Moves::Epoch => epoch as f64,
        Moves::Step => epoch as f64 + done,
    };
    if epoch < warm {
        return match s.moves {
            Moves::Epoch => c.optim.rate() * (epoch + 1) as f32 / warm as f32,
            Moves::Step => (lr * e / warm as f64) as f32,
        };
    }
    let t = (e - warm as f64) / c.run.epochs.saturating_sub(warm).max(1) as f64;
    (least + (lr - least) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos())) as f32
}

/// What the step at `at` is given, in a run of `steps` an epoch. `ends`: decay of the momentum encoder at the run's start
/// and end, and the steps by which it is ahead.
pub fn scalars(
    c: &Config,
    at: Position,
    steps: usize,
    ends: Option<([f32; 2], usize)>,
) -> StepScalars {
    let warm = at.epoch < c.amcl.switches.warmup_epochs;
    StepScalars {
        seed_lo: c.run.seed as u32,
        seed_hi: (c.run.seed >> 32) as u32,
        epoch: at.epoch as u32,
        step: at.step as u32,
        flags: if warm { StepScalars::WARMUP } else { 0 },
        lr: learning_rate(c, at.epoch, at.batch as f64 / steps as f64),
        ema: ends.map_or(0.0, |(ends, ahead)| {
            momentum(ends, at.step + ahead, steps * c.run.epochs)
        }),
        tau_scale: tau_scale(c, at.step as f64 / steps as f64),
        ..StepScalars::default()
    }
}

/// Factor on the constant temperature after so many epochs: that which makes it (high - low) (1 + cos(2 pi t / T)) /
/// 2 + low.
pub fn tau_scale(c: &Config, epochs: f64) -> f32 {
    let l = &c.loss;
    if l.schedule != Schedule::Cosine {
        return 1.0;
    }
    let period = match l.period {
        0 => c.run.epochs.clamp(1, 200),
        n => n,
    };
    let wave = 0.5 * (1.0 + (std::f64::consts::TAU * epochs / period as f64).cos());
    let base = match c.amcl.enabled {
        true => c.amcl.switches.tau_const,
        false => l.temperature,
    };
    (((l.high - l.low) * wave + l.low) / base) as f32
}

/// Decay of a momentum encoder at a step, from its values at the start and at the end: constant where the last is
/// negative, else along a cosine (Grill et al. 2020, with 1 as the last).
pub fn momentum([first, last]: [f32; 2], step: usize, steps: usize) -> f32 {
    let first = f64::from(first);
    if last < 0.0 {
        return first as f32;
    }
    let t = (step as f64 / steps.max(1) as f64).min(1.0);
    let last = f64::from(last);
    (last - (last - first) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos())) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// vit_ref's schedule by steps in plain numbers, and the older one by epochs.
    #[test]
    fn the_rate_by_steps_and_by_epochs() {
        let mut c = Config::default();
        (c.optim.lr, c.run.epochs, c.schedule.warmup_epochs) = (0.5, 10, 2);
        let near =
            |got: f32, want: f64| assert!((f64::from(got) - want).abs() < 1e-7, "{got} {want}");
        let cosine = |t: f64| 0.5 * (1.0 + (std::f64::consts::PI * t).cos());
        // By epochs a share of the epoch changes nothing.
        near(learning_rate(&c, 0, 0.0), 0.25);
        near(learning_rate(&c, 1, 0.9), 0.5);
        near(learning_rate(&c, 6, 0.9), 0.5 * cosine(0.5));
        c.schedule.moves = Moves::Step;
        near(learning_rate(&c, 0, 0.0), 0.0);
        near(learning_rate(&c, 1, 0.5), 0.375);
        near(learning_rate(&c, 6, 0.4), 0.5 * cosine(4.4 / 8.0));
        c.schedule.min_lr = 0.1;
        near(learning_rate(&c, 6, 0.4), 0.1 + 0.4 * cosine(4.4 / 8.0));
        near(learning_rate(&c, 10, 0.0), 0.1);
        // The rate of 256 images.
        c.optim.blr = 0.1;
        near(
            learning_rate(&c, 2, 0.0),
            0.1 * c.optim.batch_size as f64 / 256.0,
        );
        // A run that ends within its warm-up.
        c.schedule.warmup_epochs = 20;
        near(learning_rate(&c, 9, 0.0), 0.1 * 9.0 / 20.0);
    }

    #[test]
    fn schedules_of_temperature_and_momentum() {
        let mut c = Config::default();
        let constant = momentum([0.99, -1.0], 5, 10);
        assert_eq!((tau_scale(&c, 3.0), constant), (1.0, 0.99));
        c.loss.schedule = Schedule::Cosine;
        (c.loss.temperature, c.run.epochs) = (0.2, 20);
        for (epoch, tau) in [(0.0, 1.0), (10.0, 0.1), (5.0, 0.55), (20.0, 1.0)] {
            let got = 0.2 * tau_scale(&c, epoch);
            assert!((got - tau).abs() < 1e-6, "{epoch}: {got}");
        }
        let rising = |step| momentum([0.99, 1.0], step, 10);
        assert_eq!((rising(0), rising(10)), (0.99, 1.0));
        assert!((rising(5) - 0.995).abs() < 1e-6);
    }
}
