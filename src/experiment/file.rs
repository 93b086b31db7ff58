//! What an experiment file says.

use super::{ExperimentError, Result};
use crate::config::Config;
use crate::config::presets::{Assets, texts};
use crate::downstream::encoder::Feature;
use crate::downstream::protocols::{Amount, DRAWS, FinetuneChoice, LABELS, ProbeSettings};
use crate::settings::{self, SEED, check_range, did_you_mean, near};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Values of settings, all of whose combinations are trained.
pub(super) type Grid = BTreeMap<String, Vec<toml::Value>>;

/// A case: a method, or a variant of one.
#[derive(Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Case {
    pub name: String,
    /// A `*` in it stands for the data set in the name of the experiment's preset: `cifar10` of `simclr-cifar10`.
    pub preset: Option<String>,
    pub set: BTreeMap<String, toml::Value>,
    /// Whole factors on what the settings come to: three times the hidden width, whatever the preset's is.
    pub times: BTreeMap<String, i64>,
    /// Settings of the grid that have no effect on this case. It is trained once for all their values, and
    /// its result stands at each of them.
    pub without: Vec<String>,
    /// Values of settings of the grid for this case alone, in place of the experiment's.
    pub grid: Grid,
    /// Settings of the grid, and for each the setting that takes its values in this case: where one axis of the table
    /// means the same thing under several names.
    pub instead: BTreeMap<String, String>,
    /// Measures that are not made of this case's runs. Its cells stay empty.
    pub skip: Vec<Measure>,
    /// Another case, whose run of the same seed, at the same point of the grid, this case's run starts from.
    pub init: Option<String>,
}

impl Case {
    /// The name of the case's preset, where the experiment's is `of_all`.
    pub fn preset(&self, of_all: &str) -> String {
        let data = of_all.rsplit('-').next().unwrap_or_default();
        match &self.preset {
            Some(name) => name.replace('*', data),
            None => of_all.to_string(),
        }
    }

    /// Whether another preset of the experiment changes the case's.
    fn depends_on_preset(&self) -> bool {
        self.preset.as_ref().is_none_or(|p| p.contains('*'))
    }
}

/// An experiment file (TOML; `assets/experiments` holds examples).
#[derive(Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Experiment {
    /// For people: what it shows, where the published numbers are.
    pub title: String,
    /// Preset of the cases that name none.
    pub(super) preset: String,
    /// Settings of every training.
    pub(super) set: BTreeMap<String, toml::Value>,
    /// Settings that make the experiment small. They take the place of `set`'s and of the grid's, unless a
    /// preset is chosen.
    small: BTreeMap<String, toml::Value>,
    /// Values of settings. All combinations are trained.
    pub(super) grid: Grid,
    /// Seeds of every combination.
    pub seeds: Vec<u64>,
    /// What is measured of every training. The columns of the table follow from it.
    pub eval: Vec<Measure>,
    /// The linear probe's settings.
    pub linear: ProbeSettings,
    /// Labels a class of [`Measure::FewLabel`].
    pub labels: Vec<usize>,
    /// Draws of each number of labels.
    pub draws: usize,
    /// What [`Measure::Finetune`] does: a `recipe`, and settings that differ from it.
    pub(super) finetune: toml::Table,
    /// Cases.
    pub(super) case: Vec<Case>,
}

impl Default for Experiment {
    fn default() -> Self {
        Self {
            title: String::new(),
            preset: String::new(),
            set: BTreeMap::new(),
            small: BTreeMap::new(),
            grid: BTreeMap::new(),
            seeds: vec![0],
            eval: vec![Measure::Knn],
            linear: ProbeSettings::default(),
            labels: vec![10, 20, 50, 100, 200, 500],
            draws: 3,
            finetune: toml::Table::new(),
            case: Vec::new(),
        }
    }
}

/// A column of the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub measure: Measure,
    /// None where the measure is of the whole encoder.
    pub feature: Option<Feature>,
    /// Which of the measure's numbers.
    pub number: usize,
    pub title: String,
}

/// What is measured of a training, by each of its encoder's features.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// kNN accuracy after training.
    Knn,
    /// The linear probe.
    Linear,
    /// Linear probes on few labels.
    FewLabel,
    /// Fine-tuning with all labels, which has one result whatever the encoder's features are.
    Finetune,
}

/// The experiments that come with the program, name and text: the files of `assets/experiments`, by name.
pub static EXPERIMENTS: Assets = Assets::new(|| {
    static FOLDER: include_dir::Dir<'_> =
        include_dir::include_dir!("$CARGO_MANIFEST_DIR/assets/experiments");
    texts(&FOLDER)
});

/// The first of `all` that comes again.
fn twice<T: PartialEq>(all: &[T]) -> Option<&T> {
    all.iter()
        .enumerate()
        .find(|(i, x)| all[..*i].contains(x))
        .map(|(_, x)| x)
}

impl Experiment {
    /// Reads an experiment: a file, or one that comes with the program by its name.
    ///
    /// # Errors
    /// A file that cannot be read; what is wrong with it.
    pub fn open(file: &str) -> Result<Self> {
        let wrong = |why: String| ExperimentError::File(format!("{file}: {why}"));
        let text = match EXPERIMENTS.iter().find(|e| e.0 == file) {
            Some((_, text)) => text.to_string(),
            None => std::fs::read_to_string(file).map_err(|e| {
                let names: Vec<&str> = EXPERIMENTS.iter().map(|e| e.0).collect();
                let hint = near(file, names.iter().copied());
                let hint = hint.map_or(String::new(), |n| format!("; did you mean {n}?"));
                ExperimentError::File(format!(
                    "cannot read {file}: {e}; the experiments that come with the program are {}{hint}",
                    names.join(", ")
                ))
            })?,
        };
        Self::parse(&text).map_err(|e| wrong(e.to_string()))
    }

    /// Reads an experiment's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| Err(ExperimentError::File(why.into()));
        let e: Experiment = toml::from_str(text)
            .map_err(|e| ExperimentError::File(settings::in_one_line(text, &e)))?;
        if e.case.is_empty() {
            return wrong("no [[case]]");
        }
        if e.seeds.is_empty() || e.eval.is_empty() || e.labels.is_empty() {
            return wrong("seeds, eval and labels must not be empty");
        }
        check_range("seeds", &e.seeds[..], SEED)
            .and_then(|()| check_range("labels", &e.labels[..], LABELS))
            .and_then(|()| check_range("draws", &e.draws, DRAWS))
            .map_err(ExperimentError::File)?;
        if let Some(seed) = twice(&e.seeds) {
            return Err(ExperimentError::File(format!("seeds holds {seed} twice")));
        }
        let own = e.case.iter().flat_map(|c| &c.grid);
        for (key, values) in e.grid.iter().chain(own) {
            if values.is_empty() {
                return Err(ExperimentError::File(format!(
                    "grid: {key} has no values, so that nothing would be trained"
                )));
            }
            if let Some(value) = twice(values) {
                return Err(ExperimentError::File(format!(
                    "grid: {key} has the value {value} twice"
                )));
            }
        }
        let names: Vec<&str> = e.case.iter().map(|c| c.name.as_str()).collect();
        if let Some(name) = twice(&names) {
            return Err(ExperimentError::File(format!(
                "two cases are called `{name}`; their runs would share folders"
            )));
        }
        e.linear.resolve()?;
        e.fine_tuning()?;
        for case in &e.case {
            if let Some(key) = case.without.iter().find(|k| !e.grid.contains_key(*k)) {
                return Err(ExperimentError::File(format!(
                    "case `{}`: `without` names {key}, which is not in the grid",
                    case.name
                )));
            }
            let own = |k: &&String| !e.grid.contains_key(*k) || case.without.contains(k);
            if let Some(key) = case.grid.keys().find(own) {
                return Err(ExperimentError::File(format!(
                    "case `{}`: its grid names {key}, which is not in the experiment's, or which the case is `without`",
                    case.name
                )));
            }
            let fixed = |k: &&String| !e.grid.contains_key(*k) || case.without.contains(k);
            if let Some(key) = case.instead.keys().find(fixed) {
                return Err(ExperimentError::File(format!(
                    "case `{}`: `instead` names {key}, which is not in the experiment's grid, or which the case is \
                     `without`",
                    case.name
                )));
            }
            e.starts(case)?;
        }
        Ok(e)
    }

    /// Checks the cases that a case starts from, one after the other.
    fn starts(&self, case: &Case) -> Result<()> {
        let wrong = |why: String| {
            Err(ExperimentError::File(format!(
                "case `{}`: `init` {why}",
                case.name
            )))
        };
        let mut at = case;
        for _ in 0..self.case.len() {
            let Some(name) = &at.init else {
                return Ok(());
            };
            let Some(next) = self.case.iter().find(|c| c.name == *name) else {
                let names = self.case.iter().map(|c| c.name.as_str());
                return wrong(format!(
                    "names `{name}`, which is no case of the file; {}",
                    did_you_mean(name, names)
                ));
            };
            at = next;
        }
        wrong("leads back to the case itself, so that no run could be the first".into())
    }

    /// The experiment in its small form where it has one; with a `preset`, at full size on that preset.
    ///
    /// # Errors
    /// An unknown preset, or one that no case depends on.
    pub fn on(mut self, preset: Option<&str>) -> Result<Self> {
        if let Some(name) = preset {
            Config::preset(name)?;
            if !self.case.iter().any(Case::depends_on_preset) {
                return Err(ExperimentError::File(format!(
                    "--preset {name} would change nothing: every case of the experiment names its own"
                )));
            }
            self.preset = name.to_string();
            self.title = format!("{} ({name})", self.title);
            self.small.clear();
        }
        let grids = self.case.iter_mut().map(|c| &mut c.grid);
        for grid in grids.chain([&mut self.grid]) {
            grid.retain(|key, _| !self.small.contains_key(key));
        }
        self.set.append(&mut self.small);
        Ok(self)
    }

    /// What a measure is called in the table, one title for each of its numbers.
    fn titles(&self, m: Measure) -> Vec<String> {
        match m {
            Measure::Knn => vec!["kNN top-1".into()],
            Measure::Linear => vec!["linear top-1".into()],
            Measure::FewLabel => {
                let of = |l: &usize| format!("{l} labels a class");
                self.labels.iter().map(of).collect()
            }
            Measure::Finetune => vec!["fine-tuned top-1".into()],
        }
    }

    /// How [`Measure::Finetune`] is done.
    ///
    /// # Errors
    /// A recipe or a setting that there is not, a number outside its range.
    pub(super) fn fine_tuning(&self) -> Result<FinetuneChoice> {
        let mut choice = FinetuneChoice {
            set: self.finetune.clone(),
            ..FinetuneChoice::default()
        };
        if let Some(recipe) = choice.set.remove("recipe") {
            choice.recipe = recipe.as_str().unwrap_or_default().into();
        }
        choice.check().map_err(ExperimentError::File)?;
        Ok(choice)
    }

    /// The table's columns where its trainings have these features: what is measured, by which feature, which of the
    /// measure's numbers, and the title.
    pub(super) fn columns(&self, features: &[Feature]) -> Vec<Column> {
        let mut out = Vec::new();
        for m in &self.eval {
            let features: Vec<Option<Feature>> = match m {
                Measure::Finetune => vec![None],
                _ => features.iter().copied().map(Some).collect(),
            };
            for feature in features {
                let by = match feature {
                    None | Some(Feature::Backbone) => String::new(),
                    Some(named) => format!(", {named}"),
                };
                let titles = self.titles(*m).into_iter().enumerate();
                out.extend(titles.map(|(number, title)| Column {
                    measure: *m,
                    feature,
                    number,
                    title: format!("{title}{by}, %"),
                }));
            }
        }
        out
    }

    /// Labels of few labels, as the protocol takes them.
    pub(super) fn amounts(&self) -> Vec<Amount> {
        self.labels.iter().copied().map(Amount::Labels).collect()
    }
}
