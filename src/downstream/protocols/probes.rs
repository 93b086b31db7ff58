//! Linear classifiers on frozen features: of all labels, and of few labels a class.

use crate::config::{MOMENTUM, Precision, RATE, WEIGHT_DECAY};
use crate::data::{Dataset, Split, draw_per_class};
use crate::downstream::encoder::{Encoder, Feature};
use crate::downstream::probe::{Found, Labelled, PROTOCOLS, Protocol, probe};
use crate::downstream::record::Provenance;
use crate::downstream::{DownstreamError, Result, Source, Tell, look_at, progress};
use crate::settings::{Range, SEED, Section, between, check_range, did_you_mean};
use crate::train::session::open_executor;
use serde_json::{Value, json};

/// The name of [`linear`]'s result, in that of its file.
pub const LINEAR: &str = "linear";
/// The name of [`few_label`]'s result, in that of its file.
pub const FEW_LABEL: &str = "few-label";

/// Labels of a class that [`few_label`] may take.
pub const LABELS: Range = between(1.0, 1e9);

/// Draws of each number of labels.
pub const DRAWS: Range = between(1.0, 1e4);

crate::section! {
    /// A linear probe's settings: a protocol by its name, and what differs from it.
    ProbeSettings {
        /// The name of one of [`PROTOCOLS`].
        protocol: String = PROTOCOLS[0].name.into(),
        /// Epochs.
        epochs: Option<usize> = None => between(1.0, 1e6),
        /// Learning rate.
        lr: Option<f32> = None => RATE,
        /// Samples a step.
        batch_size: Option<usize> = None => between(1.0, 1_048_576.0),
        /// Momentum.
        momentum: Option<f32> = None => MOMENTUM,
        /// Weight decay.
        weight_decay: Option<f32> = None => WEIGHT_DECAY,
        /// Train on features of images that are cropped and mirrored anew every epoch. Else features are computed
        /// once, which is much faster.
        augment: bool = false,
        /// Seed of the order of samples and of the draws.
        seed: u64 = 0 => SEED,
    }
}

impl ProbeSettings {
    /// The protocol with what differs from it.
    ///
    /// # Errors
    /// An unknown protocol, a number outside its range.
    pub fn resolve(&self) -> Result<Protocol> {
        self.check_ranges("linear")
            .map_err(DownstreamError::Request)?;
        let Some(p) = PROTOCOLS.iter().find(|p| p.name == self.protocol) else {
            return Err(DownstreamError::Request(format!(
                "no protocol `{}`; {}",
                self.protocol,
                did_you_mean(&self.protocol, PROTOCOLS.iter().map(|p| p.name))
            )));
        };
        let batch_size = self.batch_size.unwrap_or(p.batch_size);
        // lightly's rate is for a batch of 256 and grows with it.
        let scale = match p.name {
            "lightly" => batch_size as f32 / p.batch_size as f32,
            _ => 1.0,
        };
        Ok(Protocol {
            epochs: self.epochs.unwrap_or(p.epochs),
            lr: self.lr.unwrap_or(p.lr * scale),
            batch_size,
            momentum: self.momentum.unwrap_or(p.momentum),
            augment: self.augment,
            weight_decay: self.weight_decay.unwrap_or(p.weight_decay),
            ..*p
        })
    }
}

/// What [`linear`] found.
#[derive(Clone, Debug)]
pub struct LinearResult {
    /// Accuracies and loss.
    pub found: Found,
    /// The protocol in words.
    pub protocol: String,
    /// The epoch after which the encoder was saved.
    pub epoch: usize,
    /// The record, as it was written.
    pub record: Value,
}

/// Accuracy by a number of labels a class, over several draws of the labelled images.
#[derive(Clone, Debug, PartialEq)]
pub struct FewLabels {
    /// Labels a class.
    pub labels: usize,
    /// Mean accuracy on the test images, percent.
    pub mean: f64,
    /// Standard deviation over the draws (0 of a single one).
    pub deviation: f64,
    /// The accuracy of each draw.
    pub draws: Vec<f64>,
}

/// What [`few_label`] found.
#[derive(Clone, Debug)]
pub struct FewLabelResult {
    /// A row for each number of labels.
    pub rows: Vec<FewLabels>,
    /// The protocol in words.
    pub protocol: String,
    /// The epoch after which the encoder was saved.
    pub epoch: usize,
    /// The record, as it was written.
    pub record: Value,
}

fn mean_and_deviation(v: &[f64]) -> (f64, f64) {
    let mean = v.iter().sum::<f64>() / v.len() as f64;
    let square = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    (mean, (square / (v.len().max(2) - 1) as f64).sqrt())
}

/// The frozen features of labelled training images and of test images.
struct Frozen<'a> {
    source: &'a Source,
    tell: Tell<'a>,
    bank: Vec<f32>,
    test: Vec<f32>,
    split: Split,
    dim: usize,
    encoder: Encoder,
}

impl<'a> Frozen<'a> {
    fn new(source: &'a Source, tell: Tell<'a>) -> Result<Self> {
        let (trained, split) = source.read_labelled(tell)?;
        let mut encoder = source.encoder(&trained, &split, Feature::Backbone, tell)?;
        let mut told = |done, all| progress(tell, done, all, "features");
        let dim = encoder.dim();
        let bank = encoder.features(split.bank(), &mut told)?;
        let test = encoder.features(&split.test, &mut told)?;
        look_at(tell, "training images", &bank, dim);
        look_at(tell, "test images", &test, dim);
        Ok(Self {
            source,
            tell,
            bank,
            test,
            dim,
            split,
            encoder,
        })
    }

    fn provenance(&self, seed: u64) -> Provenance<'_> {
        Provenance {
            source: self.source,
            data: &self.split.description,
            seed,
            epoch: self.encoder.epoch,
        }
    }

    /// Trains the probe on the training images `ids`, or on all, and tests it.
    fn probe(&mut self, p: &Protocol, ids: Option<&[usize]>, seed: u64) -> Result<Found> {
        let bank: &Dataset = self.split.bank();
        let (mut x, mut y) = (Vec::new(), Vec::new());
        let train = match ids {
            None => Labelled {
                features: &self.bank,
                labels: &bank.labels,
            },
            Some(ids) => {
                for i in ids {
                    x.extend_from_slice(&self.bank[i * self.dim..(i + 1) * self.dim]);
                    y.push(bank.labels[*i]);
                }
                Labelled {
                    features: &x,
                    labels: &y,
                }
            }
        };
        let test = Labelled {
            features: &self.test,
            labels: &self.split.test.labels,
        };
        let mut exec = open_executor(&self.source.device, &[], Precision::F32, |_| ())?;
        let (encoder, tell) = (&mut self.encoder, self.tell);
        let mut fresh = |epoch: usize| {
            let all = encoder.cropped(bank, seed, epoch as u32)?;
            let Some(ids) = ids else {
                return Ok(all);
            };
            let d = all.len() / bank.len();
            let rows = ids.iter().flat_map(|i| &all[i * d..(i + 1) * d]);
            Ok(rows.copied().collect())
        };
        probe(
            p,
            train,
            test,
            self.split.classes.len(),
            seed,
            exec.as_mut(),
            &mut fresh,
            &|done, all| progress(tell, done, all, "probe epochs"),
        )
    }
}

/// Trains a linear classifier on the frozen features of all labelled training images.
///
/// # Errors
/// No such run, data without labels, settings without sense, a loss that is not finite; the device.
pub fn linear(source: &Source, settings: &ProbeSettings, tell: Tell<'_>) -> Result<LinearResult> {
    let p = settings.resolve()?;
    let mut frozen = Frozen::new(source, tell)?;
    let found = frozen.probe(&p, None, settings.seed)?;
    let value = json!({
        "linear_top1": found.top1, "linear_top5": found.top5, "train_top1": found.train_top1, "loss": found.loss,
    });
    let (from, protocol) = (frozen.provenance(settings.seed), p.describe());
    Ok(LinearResult {
        found,
        epoch: from.epoch,
        record: from.write(LINEAR, &protocol, value)?,
        protocol,
    })
}

/// Trains linear classifiers on the features of few labelled images a class, `draws` of them for each number
/// of `labels`. Draw i is made from the settings' seed plus i.
///
/// # Errors
/// As [`linear`]; a number of labels or of draws outside its range.
pub fn few_label(
    source: &Source,
    settings: &ProbeSettings,
    labels: &[usize],
    draws: usize,
    tell: Tell<'_>,
) -> Result<FewLabelResult> {
    let p = settings.resolve()?;
    check_range("few_label.labels", labels, LABELS)
        .and_then(|()| check_range("few_label.draws", &draws, DRAWS))
        .map_err(DownstreamError::Request)?;
    let mut frozen = Frozen::new(source, tell)?;
    let classes = frozen.split.classes.len();
    let mut rows = Vec::new();
    for labels in labels {
        let mut all = Vec::new();
        for i in 0..draws as u64 {
            let seed = settings.seed + i;
            let ids = draw_per_class(&frozen.split.bank().labels, classes, |_| *labels, seed);
            all.push(frozen.probe(&p, Some(&ids), seed)?.top1);
        }
        let (mean, deviation) = mean_and_deviation(&all);
        rows.push(FewLabels {
            labels: *labels,
            mean,
            deviation,
            draws: all,
        });
    }
    let of = |r: &FewLabels| json!({"labels": r.labels, "top1": r.mean, "deviation": r.deviation, "draws": r.draws});
    let value = json!({"few_label": rows.iter().map(of).collect::<Vec<_>>()});
    let (from, protocol) = (frozen.provenance(settings.seed), p.describe());
    Ok(FewLabelResult {
        epoch: from.epoch,
        record: from.write(FEW_LABEL, &protocol, value)?,
        rows,
        protocol,
    })
}
