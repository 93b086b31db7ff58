//! Fine-tuning on shares of the labels.

use crate::config::Config;
use crate::config::Precision;
use crate::data::draw_per_class;
use crate::downstream::finetune::{FinetuneSettings, RECIPES, finetune, known_recipe};
use crate::downstream::record::Provenance;
use crate::downstream::{DownstreamError, Result, Source, Tell, progress};
use crate::settings::{Section, above, check_given, check_range, keys, refuse_unknown};
use crate::train::session::open_executor;
use serde_json::{Value, json};
use toml::Table;

/// The name of the result, in that of its file.
pub const FINETUNE: &str = "finetune";

/// A recipe of fine-tuning, and what is to differ from it.
#[derive(Clone, Debug, PartialEq)]
pub struct FinetuneChoice {
    /// One of [`RECIPES`].
    pub recipe: String,
    /// Settings in place of the recipe's, by their keys ([`FinetuneSettings`]).
    pub set: Table,
}

impl Default for FinetuneChoice {
    fn default() -> Self {
        Self {
            recipe: RECIPES[0].into(),
            set: Table::new(),
        }
    }
}

impl FinetuneChoice {
    /// What can be said before a run is read.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        known_recipe(&self.recipe)?;
        let given = self.set.keys().map(String::as_str);
        refuse_unknown("finetune", given, &keys::<FinetuneSettings>())?;
        check_given("finetune", &self.set, &FinetuneSettings::fields())
    }

    /// The settings for the encoder of a configuration.
    ///
    /// # Errors
    /// As [`FinetuneSettings::recipe`] and [`FinetuneSettings::with`].
    pub fn settings(&self, config: &Config) -> Result<FinetuneSettings> {
        FinetuneSettings::recipe(&self.recipe, config)
            .and_then(|s| s.with(&self.set))
            .map_err(DownstreamError::Request)
    }
}

/// Accuracy after fine-tuning on a share of the labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelShare {
    /// Share of each class's labels, above 0 and up to 1.
    pub fraction: f64,
    /// Labelled images.
    pub images: usize,
    /// Accuracy on the test images, percent.
    pub top1: f64,
}

/// What [`finetune_shares`] found.
#[derive(Clone, Debug)]
pub struct FinetuneResult {
    /// A row for each share.
    pub rows: Vec<LabelShare>,
    /// The protocol in words.
    pub protocol: String,
    /// The epoch after which the encoder was saved.
    pub epoch: usize,
    /// The record, as it was written.
    pub record: Value,
}

/// Fine-tunes the run's encoder on shares of each class's labels, each time from the run's weights.
///
/// # Errors
/// No such run, data without labels, settings without sense, a loss that is not finite; the device.
pub fn finetune_shares(
    source: &Source,
    fractions: &[f64],
    choice: &FinetuneChoice,
    tell: Tell<'_>,
) -> Result<FinetuneResult> {
    choice
        .check()
        .and_then(|()| check_range("finetune.fractions", fractions, above(0.0).to(1.0)))
        .map_err(DownstreamError::Request)?;
    let (trained, split) = source.read_labelled(tell)?;
    let s = &choice.settings(&trained.config)?;
    let (bank, classes) = (split.bank(), split.classes.len());
    let mut rows = Vec::new();
    for fraction in fractions {
        let share = |of: usize| (of as f64 * fraction).round().max(1.0) as usize;
        let ids = draw_per_class(&bank.labels, classes, share, s.seed);
        let mut exec = open_executor(&source.device, &[], Precision::F32, |_| ())?;
        let top1 = finetune(
            &trained.config,
            &trained.weights,
            s,
            (bank, &ids),
            &split.test,
            classes,
            exec.as_mut(),
            &|done, all| progress(tell, done, all, "epochs of fine-tuning"),
        )?;
        rows.push(LabelShare {
            fraction: *fraction,
            images: ids.len(),
            top1,
        });
    }
    let of = |r: &LabelShare| json!({"fraction": r.fraction, "images": r.images, "top1": r.top1});
    let value = json!({"finetune": rows.iter().map(of).collect::<Vec<_>>()});
    let (epoch, protocol) = (
        trained.at.epoch,
        s.describe() + &s.seen(&trained.config).test_in_words(),
    );
    let from = Provenance {
        source,
        data: &split.description,
        seed: s.seed,
        epoch,
    };
    Ok(FinetuneResult {
        rows,
        epoch,
        record: from.write(FINETUNE, &protocol, value)?,
        protocol,
    })
}
