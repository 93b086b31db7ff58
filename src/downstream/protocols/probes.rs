//! Linear classifiers on frozen features: of all labels, and of few labels a class.

use super::{by_feature, looked_at};
use crate::config::{MOMENTUM, Precision, RATE, WEIGHT_DECAY};
use crate::data::{Dataset, Split, draw_per_class};
use crate::downstream::encoder::{Encoder, Feature};
use crate::downstream::probe::{
    Classifier, Found, GAP, LGP, Labelled, Logistic, PROTOCOLS, Protocol, probe,
};
use crate::downstream::record::Provenance;
use crate::downstream::{DownstreamError, Notice, Result, Source, Tell, progress};
use crate::settings::{Numbers, Range, SEED, Section, above, between, check_range, did_you_mean};
use crate::train::session::open_executor;
use serde_json::{Value, json};

/// The name of [`linear`]'s result, in that of its file.
pub const LINEAR: &str = "linear";
/// The name of [`few_label`]'s result, in that of its file.
pub const FEW_LABEL: &str = "few-label";

/// Labels of a class that [`few_label`] may take.
pub const LABELS: Range = between(1.0, 1e9);

/// Shares of each class's labels.
const SHARES: Range = above(0.0).to(1.0);

/// Draws of each number of labels.
pub const DRAWS: Range = between(1.0, 1e4);

crate::section! {
    /// A linear probe's settings: a protocol by its name, and what differs from it.
    ProbeSettings {
        /// The name of one of [`PROTOCOLS`], or [`LGP`]'s.
        protocol: String = PROTOCOLS[0].name.into(),
        /// Epochs.
        epochs: Option<usize> = None => between(1.0, 1e6),
        /// Learning rate.
        lr: Option<f32> = None => RATE,
        /// Samples a step.
        batch_size: Option<usize> = None => between(1.0, 1_048_576.0),
        /// Momentum.
        momentum: Option<f32> = None => MOMENTUM,
        /// Weight decay; of `lgp`, the L2 penalty of the sum over all samples.
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
    /// An unknown protocol, a number outside its range; what a solved protocol does not have.
    pub fn resolve(&self) -> Result<Classifier> {
        self.check_ranges("linear")
            .map_err(DownstreamError::Request)?;
        if self.protocol == LGP.name {
            return self.solved();
        }
        let Some(p) = PROTOCOLS.iter().find(|p| p.name == self.protocol) else {
            return Err(DownstreamError::Request(format!(
                "no protocol `{}`; {}",
                self.protocol,
                did_you_mean(&self.protocol, protocols())
            )));
        };
        let batch_size = self.batch_size.unwrap_or(p.batch_size);
        let scale = match p.scales() {
            true => batch_size as f32 / p.batch_size as f32,
            false => 1.0,
        };
        Ok(Classifier::Trained(Protocol {
            epochs: self.epochs.unwrap_or(p.epochs),
            lr: self.lr.unwrap_or(p.lr * scale),
            batch_size,
            momentum: self.momentum.unwrap_or(p.momentum),
            augment: self.augment,
            weight_decay: self.weight_decay.unwrap_or(p.weight_decay),
            ..*p
        }))
    }

    /// [`LGP`], whose penalty is the one thing that can differ.
    fn solved(&self) -> Result<Classifier> {
        let given = [
            ("epochs", self.epochs.is_some()),
            ("lr", self.lr.is_some()),
            ("batch_size", self.batch_size.is_some()),
            ("momentum", self.momentum.is_some()),
            ("augment", self.augment),
        ];
        if let Some((name, _)) = given.iter().find(|(_, given)| *given) {
            return Err(DownstreamError::Request(format!(
                "linear.{name}: protocol `{}` is solved to convergence and has none; weight_decay is its L2 penalty",
                LGP.name
            )));
        }
        let l2 = self.weight_decay.map_or(LGP.l2, |v| v.numbers()[0]);
        match l2 > 0.0 {
            true => Ok(Classifier::Solved(Logistic { l2, ..LGP })),
            false => Err(DownstreamError::Request(format!(
                "linear.weight_decay is 0; protocol `{}` needs a penalty above 0 to have a solution",
                LGP.name
            ))),
        }
    }
}

/// Names of all protocols.
pub fn protocols() -> impl Iterator<Item = &'static str> + Clone {
    PROTOCOLS.iter().map(|p| p.name).chain([LGP.name])
}

/// What [`linear`] found.
#[derive(Clone, Debug)]
pub struct LinearResult {
    /// Accuracies and loss by the encoder's main feature.
    pub found: Found,
    /// The same by each feature.
    pub each: Vec<(Feature, Found)>,
    /// The protocol in words.
    pub protocol: String,
    /// The epoch after which the encoder was saved.
    pub epoch: usize,
    /// The record, as it was written.
    pub record: Value,
}

/// How many labels are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// So many of each class.
    Labels(usize),
    /// This share of each class's, at least one label.
    Share(f64),
}

impl Amount {
    /// Of a class with `all` labels.
    fn of(self, all: usize) -> usize {
        match self {
            Self::Labels(n) => n,
            Self::Share(share) => (all as f64 * share).round().max(1.0) as usize,
        }
    }

    fn check(self) -> std::result::Result<(), String> {
        match self {
            Self::Labels(n) => check_range("few_label.labels", &n, LABELS),
            Self::Share(share) => check_range("few_label.fractions", &share, SHARES),
        }
    }
}

/// Accuracy by a number of labels, over several draws of the labelled images.
#[derive(Clone, Debug, PartialEq)]
pub struct FewLabels {
    /// Labels of each class.
    pub amount: Amount,
    /// Labelled images in all.
    pub images: usize,
    /// Mean accuracy on the test images, percent.
    pub mean: f64,
    /// Standard deviation over the draws (0 of a single one).
    pub deviation: f64,
    /// The accuracy of each draw.
    pub draws: Vec<f64>,
}

impl FewLabels {
    fn record(&self) -> Value {
        let mut row = match self.amount {
            Amount::Labels(labels) => json!({"labels": labels}),
            Amount::Share(fraction) => json!({"fraction": fraction, "images": self.images}),
        };
        row["top1"] = self.mean.into();
        row["deviation"] = self.deviation.into();
        row["draws"] = self.draws.clone().into();
        row
    }
}

/// What [`few_label`] found.
#[derive(Clone, Debug)]
pub struct FewLabelResult {
    /// A row for each number of labels, by each feature.
    pub each: Vec<(Feature, Vec<FewLabels>)>,
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
    /// Each feature's.
    bank: Vec<Vec<f32>>,
    test: Vec<Vec<f32>>,
    split: Split,
    dim: usize,
    encoder: Encoder,
}

impl<'a> Frozen<'a> {
    fn new(source: &'a Source, features: &[Feature], tell: Tell<'a>) -> Result<Self> {
        let (trained, split) = source.read_labelled(tell)?;
        let mut encoder = source.encoder(&trained, &split, features, tell)?;
        let dim = encoder.dim();
        let bank = looked_at(&mut encoder, split.bank(), "training images", tell)?;
        let test = looked_at(&mut encoder, &split.test, "test images", tell)?;
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

    /// The protocol in words.
    fn describe(&self, c: &Classifier) -> String {
        let crop = self.encoder.config.augment.test_in_words();
        c.describe(&Feature::list(&self.encoder.made)) + &crop
    }

    /// Each feature beside what it gave.
    fn each<T>(&self, found: Vec<T>) -> Vec<(Feature, T)> {
        self.encoder.made.iter().copied().zip(found).collect()
    }

    /// Makes a classifier of each feature from the training images `ids`, or from all, and tests it.
    fn probe(&mut self, c: &Classifier, ids: Option<&[usize]>, seed: u64) -> Result<Vec<Found>> {
        let bank: &Dataset = self.split.bank();
        let (dim, all): (usize, Vec<usize>) = (self.dim, (0..bank.len()).collect());
        let ids = ids.unwrap_or(&all);
        let labels: Vec<u32> = ids.iter().map(|i| bank.labels[*i]).collect();
        let picked = |x: &[f32]| -> Vec<f32> {
            let rows = ids.iter().flat_map(|i| &x[i * dim..(i + 1) * dim]);
            rows.copied().collect()
        };
        let train: Vec<Vec<f32>> = self.bank.iter().map(|x| picked(x)).collect();
        let of = |features, labels| Labelled { features, labels };
        let sets = train.iter().zip(&self.test);
        let sets: Vec<[Labelled<'_>; 2]> = sets
            .map(|(train, test)| [of(train, &labels), of(test, &self.split.test.labels)])
            .collect();
        let (encoder, tell) = (&mut self.encoder, self.tell);
        let classes = self.split.classes.len();
        let p = match c {
            Classifier::Trained(p) => p,
            Classifier::Solved(l) => {
                let made = encoder.made.iter().zip(sets);
                let solved = made.map(|(feature, [train, test])| {
                    let s = l.solve(train, test, classes)?;
                    if s.gap > GAP {
                        tell(Notice::Warning(&format!(
                            "{feature}: logistic regression has not converged in {} steps; its objective may be {:.2} \
                             % above the least",
                            s.steps,
                            100.0 * s.gap
                        )));
                    }
                    Ok(s.found)
                });
                return solved.collect();
            }
        };
        let device = &self.source.device;
        let mut open = || Ok(open_executor(device, &[], Precision::F32, |_| ())?);
        let mut fresh = |epoch: usize| {
            let each = encoder.cropped(bank, seed, epoch as u32)?;
            Ok(each.iter().map(|x| picked(x)).collect())
        };
        probe(
            p,
            &sets,
            classes,
            seed,
            &mut open,
            &mut fresh,
            &|done, all| {
                progress(tell, done, all, "probe epochs");
            },
        )
    }
}

/// Makes a linear classifier of the frozen features of all labelled training images: of each feature that is asked
/// for; of all that the encoder has where none is.
///
/// # Errors
/// No such run or feature, data without labels, settings without sense, a loss that is not finite; the device.
pub fn linear(
    source: &Source,
    settings: &ProbeSettings,
    features: &[Feature],
    tell: Tell<'_>,
) -> Result<LinearResult> {
    let c = settings.resolve()?;
    let mut frozen = Frozen::new(source, features, tell)?;
    let found = frozen.probe(&c, None, settings.seed)?;
    let of = |f: &Found| {
        json!({
            "linear_top1": f.top1, "linear_top5": f.top5, "train_top1": f.train_top1, "loss": f.loss,
        })
    };
    let value = by_feature(&frozen.encoder, found.iter().map(of).collect());
    let (from, protocol) = (frozen.provenance(settings.seed), frozen.describe(&c));
    Ok(LinearResult {
        found: found[frozen.encoder.main],
        epoch: from.epoch,
        record: from.write(LINEAR, &protocol, value)?,
        protocol,
        each: frozen.each(found),
    })
}

/// Makes linear classifiers of the features of few labelled images, `draws` of them for each number of labels. Draw i
/// is made from the settings' seed plus i.
///
/// # Errors
/// As [`linear`]; a number of labels or of draws outside its range.
pub fn few_label(
    source: &Source,
    settings: &ProbeSettings,
    amounts: &[Amount],
    draws: usize,
    features: &[Feature],
    tell: Tell<'_>,
) -> Result<FewLabelResult> {
    let c = settings.resolve()?;
    amounts
        .iter()
        .try_for_each(|a| a.check())
        .and_then(|()| check_range("few_label.draws", &draws, DRAWS))
        .map_err(DownstreamError::Request)?;
    let mut frozen = Frozen::new(source, features, tell)?;
    let classes = frozen.split.classes.len();
    let mut each = vec![Vec::new(); frozen.encoder.made.len()];
    for amount in amounts {
        let (mut all, mut images) = (vec![Vec::new(); each.len()], 0);
        for i in 0..draws as u64 {
            let seed = settings.seed + i;
            let labels = &frozen.split.bank().labels;
            let ids = draw_per_class(labels, classes, |all| amount.of(all), seed);
            images = ids.len();
            let found = frozen.probe(&c, Some(&ids), seed)?;
            let tops = all.iter_mut().zip(&found);
            tops.for_each(|(all, found)| all.push(found.top1));
        }
        for (rows, draws) in each.iter_mut().zip(all) {
            let (mean, deviation) = mean_and_deviation(&draws);
            rows.push(FewLabels {
                amount: *amount,
                images,
                mean,
                deviation,
                draws,
            });
        }
    }
    let of = |rows: &Vec<FewLabels>| {
        let rows: Vec<Value> = rows.iter().map(FewLabels::record).collect();
        json!({"few_label": rows})
    };
    let value = by_feature(&frozen.encoder, each.iter().map(of).collect());
    let (from, protocol) = (frozen.provenance(settings.seed), frozen.describe(&c));
    Ok(FewLabelResult {
        epoch: from.epoch,
        record: from.write(FEW_LABEL, &protocol, value)?,
        each: frozen.each(each),
        protocol,
    })
}
