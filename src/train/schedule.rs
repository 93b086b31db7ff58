//! What changes from epoch to epoch: learning rate, temperature, decay of the momentum encoder.

use crate::config::{Config, Schedule};

/// Learning rate of an epoch: linear warm-up, then cosine to zero (per epoch, as the recipe has it).
pub fn learning_rate(c: &Config, epoch: usize) -> f32 {
    let warm = c.schedule.warmup_epochs;
    if epoch < warm {
        return c.optim.lr * (epoch + 1) as f32 / warm as f32;
    }
    let t = (epoch - warm) as f64 / (c.run.epochs - warm).max(1) as f64;
    (f64::from(c.optim.lr) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos())) as f32
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
