//! What happens in a run, as data: the terminal, the run folder's files, the report and a caller's own code are told
//! the same stream. What people read of an event is made in one place, [`Event::line`] and [`Event::progress`].

mod health;
mod text;

pub use health::{Alarm, Health, Histograms, Quantiles};
pub use text::rate;

use super::checkpoint::Position;
use super::environment::{Memory, Planned};
use crate::config::Precision;
use crate::device::Choice;
use crate::device::replay::Timed;
use crate::eval::spread::Spread;
use crate::graph::watched::Call;
use crate::nn::backbones::Pool;
use crate::nn::import::Report;
use serde::{Serialize, Serializer};
use std::path::PathBuf;

/// Something that happened in a run. In this order: data, device, `Planned`, tiles, compiling, initial weights,
/// `Started`; then
/// steps and what is measured after an epoch, which [`Event::Epoch`] ends; last `Finished`, `Stopped` or `Failed`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Images are being decoded. Comes from any thread, but never from two at once.
    Decoding {
        /// Images decoded.
        done: usize,
        /// Images in all.
        all: usize,
    },
    /// The data set was opened.
    Data {
        /// What it is: format, numbers, sides, split.
        description: String,
        /// What was left out or is doubtful.
        warnings: Vec<String>,
    },
    /// Something worth knowing that has no event of its own, in words.
    Note(String),
    /// The device was opened.
    Device {
        /// Adapter and driver, or the CPU executor with its threads.
        name: String,
    },
    /// The tiles of products and convolutions are being timed, once for this GPU.
    Tuning {
        /// Shapes done.
        done: usize,
        /// Shapes in all.
        all: usize,
    },
    /// Kernels are being compiled and the data sent to the device.
    Compiling,
    /// Initial weights were read.
    Weights {
        /// The run, exported folder or file.
        from: PathBuf,
        /// Which tensors were taken over.
        report: Report,
    },
    /// What the run will need is planned; nothing is allocated yet.
    Planned(Planned),
    /// Everything is compiled and allocated, and the run's folder is open.
    Started {
        /// Numbers of the parameters.
        parameters: usize,
        /// The memory plan.
        memory: Memory,
    },
    /// A step was timed, dispatch by dispatch; all states are as they were before it.
    Profiled {
        /// Dispatches (on the CPU executor: nodes) in order.
        timed: Vec<Timed>,
        /// The run's folder, whose `trace.json` holds them.
        folder: PathBuf,
    },
    /// The first steps of a profiled run were trained, and noted what the host did for them.
    Watched {
        /// In order.
        calls: Vec<Call>,
        /// The run's folder, whose `steps.json` holds them.
        folder: PathBuf,
    },
    /// A run goes on from its newest checkpoint.
    Resumed(Position),
    /// There are no labels, no test images, or one class alone: no accuracy will be measured.
    Unlabelled,
    /// Augmented views of some training images.
    Views {
        /// Optimiser steps done.
        step: usize,
        /// Width and height, pixels.
        side: (u32, u32),
        /// A PNG file: a row an image, with the image and its two views.
        png: Vec<u8>,
    },
    /// What the network makes of hidden patches of some training images.
    Reconstructions {
        /// Optimiser steps done.
        step: usize,
        /// Width and height, pixels.
        side: (u32, u32),
        /// A PNG file: a row an image, with what the encoder sees, the prediction, and the image.
        png: Vec<u8>,
    },
    /// Features are being computed for kNN.
    Features {
        /// Images done.
        done: usize,
        /// Images in all.
        all: usize,
    },
    /// An optimiser step has ended.
    Step(Step),
    /// On a CPU, once, after the first steps: how long the run takes, where that is long.
    Forecast(Forecast),
    /// How similar the pairs of the last batch are.
    Similarities(Similarities),
    /// An accuracy was measured. One that belongs to an epoch's end comes again in [`Event::Epoch`].
    Evaluated(Evaluation),
    /// An epoch has ended, and all that is measured after it. Its alarms follow as [`Event::Alarm`].
    Epoch(Box<Epoch>),
    /// A sign of collapse or divergence.
    Alarm(Alarm),
    /// A checkpoint was written.
    Saved {
        /// Where the run stands.
        at: Position,
        /// The file.
        path: PathBuf,
    },
    /// The run was asked to stop; its checkpoint is saved.
    Stopped {
        /// Where it stands.
        at: Position,
        /// The run's folder.
        folder: PathBuf,
        /// The device that the run was started on, by what the user asked for.
        device: Choice,
    },
    /// The loss or its gradient is no longer finite; the run ends with an error.
    Failed(Divergence),
    /// The run went to its end.
    Finished(Box<Summary>),
}

/// A term of a loss, unweighted: its name and its value.
pub type Term<T> = (&'static str, T);

/// An optimiser step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Epochs done before it.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Its number, from 1.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Loss, mean over micro-batches.
    pub loss: f32,
    /// The terms that the loss is made of, where it is a sum of several.
    pub terms: Vec<Term<f32>>,
    /// Learning rate.
    pub lr: f32,
    /// Norm of the gradient before clipping.
    pub grad_norm: f32,
    /// Images a second, mean over the epoch so far.
    pub images_per_s: f64,
    /// Share of the epoch so far in which steps waited for images; none where images are in memory.
    pub waited: Option<f64>,
    /// Mixed precision: the loss scale that the next step has.
    pub loss_scale: Option<f32>,
    /// Mixed precision: the gradient overflowed, and the step changed no weight.
    pub skipped: bool,
}

/// How long a run takes, by its first steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Steps that were timed.
    pub timed: usize,
    /// Seconds of each, mean.
    pub seconds_per_step: f64,
    /// Steps that are left.
    pub left: usize,
    /// The command that trains a smaller network on the same data; none where there is none smaller.
    pub smaller: Option<String>,
}

/// Similarities of the pairs of a batch.
#[derive(Clone, Debug)]
pub struct Similarities {
    /// Where the run stands.
    pub at: Position,
    /// Histograms of each head.
    pub heads: Vec<Histograms>,
    /// Histograms of the backbone's features; none where they are not kept.
    pub backbone: Option<Histograms>,
    /// Similarities of positive pairs, all heads together.
    pub positive: Vec<f32>,
    /// Those of negative pairs; empty where there are none.
    pub negative: Vec<f32>,
}

/// How kNN accuracies of a run are measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnnProtocol {
    /// Neighbours.
    pub k: usize,
    /// Temperature of the votes.
    pub t: f32,
    /// How the feature is made of tokens, where the encoder has tokens.
    pub pool: Option<Pool>,
}

impl Serialize for KnnProtocol {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A kNN accuracy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Where the run stands.
    pub at: Position,
    /// Accuracy, percent of the test images.
    pub knn_top1: f64,
    /// Before training.
    pub untrained: bool,
    /// Not measured now, but read from the records of the run that is continued.
    pub remembered: bool,
    /// How it is measured.
    pub protocol: KnnProtocol,
    /// How the test features fill their space; none before training.
    pub spread: Option<Spread>,
    /// Seconds that it took.
    pub seconds: f64,
}

/// An epoch that has ended.
#[derive(Clone, Debug)]
pub struct Epoch {
    /// Where the run stands: `epoch` counts this one.
    pub at: Position,
    /// Epochs in all.
    pub epochs: usize,
    /// Mean loss of its steps but for skipped ones; not a number where all were.
    pub loss: f64,
    /// Means of its terms over the same steps.
    pub terms: Vec<Term<f64>>,
    /// Its learning rate.
    pub lr: f32,
    /// Seconds of its steps.
    pub seconds: f64,
    /// Statistics of its last batch.
    pub health: Health,
    /// What is wrong.
    pub alarms: Vec<Alarm>,
    /// The accuracy, where one was due.
    pub evaluation: Option<Evaluation>,
    /// How the ranks spent its steps, where there are several.
    pub ranks: Vec<RankTimes>,
}

/// How a rank spent the steps of an epoch, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RankTimes {
    /// It computed, or prepared batches.
    pub computed: f64,
    /// It stood still for other ranks: for their numbers, or for them to come.
    pub waited: f64,
    /// Its exchanges took, those beside computing among them.
    pub exchanged: f64,
}

/// The loss or its gradient is no longer finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// Optimiser steps done before it.
    pub step: usize,
    /// Loss.
    pub loss: f32,
    /// Squared norm of the gradient.
    pub norm2: f32,
    /// The first op that made such a value, and its inputs.
    pub why: String,
    /// The folder of the last good checkpoint.
    pub checkpoints: PathBuf,
}

/// `summary.json`: a run that went to its end.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// kNN accuracy at the end, percent; none without labels.
    pub knn_top1: Option<f64>,
    /// The same before training.
    pub knn_top1_untrained: Option<f64>,
    /// How they were measured.
    pub protocol: KnnProtocol,
    /// Epochs.
    pub epochs: usize,
    /// Optimiser steps.
    pub steps: usize,
    /// Seconds of this session of the run.
    pub seconds: f64,
    /// The device's name.
    pub adapter: String,
    /// Bytes planned.
    pub planned_bytes: u64,
    /// Bytes allocated for them.
    pub allocated_bytes: u64,
    /// Bytes beside them, inside the CPU's kernels.
    pub scratch_bytes: u64,
    /// Alarms of this session of the run.
    pub alarms: usize,
    /// Precision.
    pub precision: Precision,
    /// Steps that mixed precision skipped in this session of the run.
    pub skipped_steps: usize,
    /// SHA-256 of the parameters, hexadecimal.
    pub weights_sha256: String,
    /// Version of this program.
    pub version: &'static str,
}
