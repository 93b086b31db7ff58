//! The training step as a whole: views a second, and model-FLOP utilisation.

use super::{Ceilings, Effort};
use crate::data::{Dataset, shapes};
use crate::graph::{Executor, StepScalars};
use crate::run::profile::{self, OpTime};
use crate::train::session::Session;
use crate::train::{Config, TrainError};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Instant;

/// One configuration's step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    /// What was trained.
    pub name: String,
    /// Median seconds a step, two in flight.
    pub seconds: f64,
    /// Timed steps.
    pub runs: usize,
    /// Views a second (two an image).
    pub views_per_s: f64,
    /// 1e9 operations of the model (matrix products and convolutions, forward and backward) a second.
    pub gflops: f64,
    /// That, as a share of the measured ceiling of f32 arithmetic: more than 1 where matrix units multiply halves.
    pub utilisation: f64,
    /// Bytes planned.
    pub planned_bytes: u64,
    /// Bytes allocated.
    pub allocated_bytes: u64,
    /// Seconds until the first step was done: building the graph, compiling (kernels that a former run left in the
    /// driver's cache are read), one step.
    #[serde(default)]
    pub first_step_seconds: f64,
    /// On a GPU: median milliseconds that the host takes to pack a batch, draw its views and submit a step, waiting
    /// left out. The recording itself is made once and replayed.
    #[serde(default)]
    pub host_ms: Option<f64>,
    /// The step by op: one more step, each dispatch timed by itself. Empty where nothing times them.
    #[serde(default)]
    pub ops: Vec<OpTime>,
}

/// What an op can take at least, by measured ceilings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// Seconds.
    pub seconds: f64,
    /// Moving its bytes takes that long; else its operations do.
    pub by_bytes: bool,
}

impl Floor {
    /// Of an op of a step. Bytes that lie in a cache come faster than the ceiling has it, so that small ops may stay
    /// below their floor.
    pub fn of(op: &OpTime, c: Ceilings) -> Self {
        let [flops, bytes] = [op.flops / c.gflops, op.bytes / c.gbytes].map(|s| s / 1e9);
        Self {
            seconds: flops.max(bytes),
            by_bytes: bytes >= flops,
        }
    }
}

/// Times training steps of a configuration on generated images.
///
/// # Errors
/// As training.
pub fn measure(
    name: &str,
    config: &Config,
    exec: Box<dyn Executor>,
    effort: Effort,
    c: Ceilings,
) -> Result<StepRow, TrainError> {
    let data = shapes::generate(1, config.optim.batch_size, 10).train;
    measure_on(&data, name, config, exec, effort, c)
}

/// As [`measure`], on the first images of `data`.
///
/// # Errors
/// As training.
pub fn measure_on(
    data: &Dataset,
    name: &str,
    config: &Config,
    exec: Box<dyn Executor>,
    effort: Effort,
    c: Ceilings,
) -> Result<StepRow, TrainError> {
    let batch = config.optim.batch_size;
    let opened = Instant::now();
    let mut session = Session::new(config, exec, data)?;
    let ids: Vec<u32> = (0..batch as u32).collect();
    let scalars = StepScalars {
        lr: 1e-3,
        ..StepScalars::default()
    };
    let mut first = None;
    let (start, mut warm) = (Instant::now(), 0);
    while warm < effort.warm.max(1) || start.elapsed().as_secs_f64() < effort.warm_seconds {
        let p = session.start(data, &ids, &scalars)?;
        session.finish(&p)?;
        first.get_or_insert(opened.elapsed());
        warm += 1;
    }
    // From one step's end to the next one's: before the first, two were begun.
    let (begin, mut last) = (Instant::now(), None::<Instant>);
    let (mut flights, mut seconds, mut host) = (VecDeque::new(), Vec::new(), Vec::new());
    while seconds.len() < effort.runs
        && (seconds.is_empty() || begin.elapsed().as_secs_f64() < effort.seconds)
    {
        let before = Instant::now();
        flights.push_back(session.start(data, &ids, &scalars)?);
        host.push(1e3 * before.elapsed().as_secs_f64());
        if flights.len() >= 2
            && let Some(p) = flights.pop_front()
        {
            session.finish(&p)?;
            let now = Instant::now();
            seconds.extend(last.map(|l| (now - l).as_secs_f64()));
            last = Some(now);
        }
    }
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    for p in flights {
        session.finish(&p)?;
    }
    let timed = session.profile_step(data, &ids, &scalars);
    let mut ops = timed.map_or_else(|_| Vec::new(), |t| profile::by_op(&t));
    profile::add_work(&mut ops, session.step_graphs());
    let (runs, median) = (seconds.len(), middle(seconds));
    let gflops = session.model_flops() / median / 1e9;
    Ok(StepRow {
        name: name.into(),
        seconds: median,
        runs,
        views_per_s: 2.0 * batch as f64 / median,
        gflops,
        utilisation: if c.gflops > 0.0 {
            gflops / c.gflops
        } else {
            0.0
        },
        planned_bytes: session.planned_bytes(),
        allocated_bytes: session.exec.allocated_bytes(),
        first_step_seconds: first.unwrap_or_default().as_secs_f64(),
        host_ms: session.exec.device().map(|_| middle(host)),
        ops,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_the_longer_of_bytes_and_operations() {
        let c = Ceilings {
            gflops: 100.0,
            gbytes: 10.0,
        };
        let of = |flops: f64, bytes: f64| {
            let op = OpTime {
                flops,
                bytes,
                ..OpTime::default()
            };
            Floor::of(&op, c)
        };
        let floor = |seconds: f64, by_bytes: bool| Floor { seconds, by_bytes };
        assert_eq!(of(2e11, 1e9), floor(2.0, false));
        assert_eq!(of(2e9, 1e10), floor(1.0, true));
    }
}
