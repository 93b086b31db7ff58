//! What exchanges between ranks take here, and what that leaves of more devices.
//!
//! A mean of G bytes over R ranks moves 2 (R - 1) / R G through each rank's link, twice: pieces to their owners, and
//! their sums to all. From the time measured at one R follows the rate of the link, and from that the time at others.
//! Of an exchange that goes on beside the backward pass (three fifths of a step's time, as forward and backward pass
//! stand to each other), a tenth is taken to stay in sight, as the last bucket does.

use crate::comm::{Result, World};
use serde::Serialize;
use std::time::Instant;

/// An exchange that was timed.
#[derive(Clone, Debug, Serialize)]
pub struct Timed {
    /// Bytes of a rank's numbers.
    pub bytes: usize,
    /// Seconds of the mean over ranks, the median of several.
    pub seconds: f64,
    /// Rate of a rank's link that follows, bytes a second.
    pub rate: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Ranks.
    pub ranks: usize,
    /// Seconds of an exchange of one number: what waiting for each other takes.
    pub latency: f64,
    /// Means of gradients, by size.
    pub means: Vec<Timed>,
}

/// A forecast for a number of devices.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Expected {
    /// Devices.
    pub ranks: usize,
    /// Seconds of the exchange.
    pub exchange: f64,
    /// Share of the devices' speed that is left where a step waits for its exchange.
    pub plain: f64,
    /// The same where gradients go while the backward pass goes on.
    pub overlapped: f64,
}

/// The middle one of some times.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Bytes through a rank's link for each byte of a mean.
fn moved(ranks: usize) -> f64 {
    2.0 * (ranks - 1) as f64 / ranks as f64
}

/// Times means over the ranks, `turns` of each size in bytes; all ranks call it.
///
/// # Errors
/// A rank that ends.
pub fn measure(world: &World, sizes: &[usize], turns: usize) -> Result<Measured> {
    let time = |numbers: usize| -> Result<f64> {
        let mut x = vec![world.rank() as f32 + 0.5; numbers];
        let mut times = Vec::new();
        // The first one finds connections, and memory that is not there yet.
        for turn in 0..=turns {
            // All begin together.
            world.sum("start", &[0f32], 1.0)?;
            let begin = Instant::now();
            x = world.wait(world.begin_sum("numbers", x, 1.0)?)?;
            if turn > 0 {
                times.push(begin.elapsed().as_secs_f64());
            }
        }
        Ok(median(times))
    };
    let latency = time(1)?;
    let mean = |bytes: &usize| {
        let seconds = time(bytes / 4)?;
        Ok(Timed {
            bytes: *bytes,
            seconds,
            rate: moved(world.ranks()) * *bytes as f64 / (seconds - latency).max(1e-9),
        })
    };
    Ok(Measured {
        ranks: world.ranks(),
        latency,
        means: sizes.iter().map(mean).collect::<Result<_>>()?,
    })
}

/// The efficiency of `ranks` devices whose step takes `step` seconds alone and whose gradients are `bytes`, over a
/// link of this latency and rate.
pub fn expected(ranks: usize, bytes: f64, step: f64, (latency, rate): (f64, f64)) -> Expected {
    let exchange = latency + moved(ranks) * bytes / rate;
    let seen = (exchange - 0.6 * step).max(0.0) + 0.1 * exchange;
    Expected {
        ranks,
        exchange,
        plain: step / (step + exchange),
        overlapped: step / (step + seen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ResNet-18 in f32 on an H200: 45 MB, 57.8 ms, a link of 10 GbE between two hosts.
    #[test]
    fn efficiency_follows_from_the_rate() {
        let e = expected(2, 45e6, 57.8e-3, (0.0, 1.1e9));
        assert!((e.exchange - 40.9e-3).abs() < 1e-4, "{e:?}");
        assert!((e.plain - 57.8 / (57.8 + 40.9)).abs() < 1e-3, "{e:?}");
        // 40.9 ms less 34.7 beside the backward pass, and a tenth.
        assert!(
            (e.overlapped - 57.8 / (57.8 + 6.2 + 4.1)).abs() < 2e-3,
            "{e:?}"
        );
        let more = expected(64, 45e6, 57.8e-3, (0.0, 1.1e9));
        assert!(more.plain < e.plain && more.overlapped < e.overlapped);
    }
}
