//! What a file of experiments says (`amcl-wgpu sweep`): cases, settings and seeds, the trainings that they make, and the columns of their table.

use super::eval::{probes, source};
use amcl_wgpu::config::Config;
use anyhow::Context;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A case: a method, or a variant of one.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct Case {
    name: String,
    /// `*` in it stands for the data set in the name of the experiment's preset: cifar10 of simclr-cifar10.
    preset: Option<String>,
    set: BTreeMap<String, toml::Value>,
    /// Whole factors on what the settings come to: three times the hidden width, whatever the preset's is.
    times: BTreeMap<String, i64>,
    /// Settings of the grid that have no effect on this case: it is trained once for all their values, and its result stands at each of them.
    without: Vec<String>,
}

impl Case {
    /// The name of its preset.
    fn preset(&self, of_all: &str) -> String {
        let data = of_all.rsplit('-').next().unwrap_or_default();
        match &self.preset {
            Some(name) => name.replace('*', data),
            None => of_all.to_string(),
        }
    }

    /// Whether the experiment's preset says anything about its.
    fn follows(&self) -> bool {
        self.preset.as_ref().is_none_or(|p| p.contains('*'))
    }
}

/// An experiment file.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct Experiment {
    /// For people: what it shows, where the published numbers are.
    pub title: String,
    /// Preset of the cases that name none.
    preset: String,
    /// Settings of every run.
    set: BTreeMap<String, toml::Value>,
    /// Settings that make the experiment small: they take the place of `set`'s and of the grid's, unless a preset is chosen.
    small: BTreeMap<String, toml::Value>,
    /// Values of settings, all combinations.
    grid: BTreeMap<String, Vec<toml::Value>>,
    /// Seeds of every combination.
    seeds: Vec<u64>,
    /// What is measured of every run, each a column of the table: `knn`, `linear`, `few_label`; nothing said: `knn`.
    pub eval: Vec<Measure>,
    /// The linear probe's protocol and what differs from it, as the flags of `eval linear`.
    pub linear: probes::Setting,
    /// Labels a class of `few_label`.
    pub labels: Vec<usize>,
    /// Draws of each.
    pub draws: usize,
    /// Cases.
    case: Vec<Case>,
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
            linear: probes::Setting::default(),
            labels: vec![10, 20, 50, 100, 200, 500],
            draws: 3,
            case: Vec::new(),
        }
    }
}

/// What is measured of a run.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// kNN accuracy at the end of training.
    Knn,
    /// The linear probe.
    Linear,
    /// Linear probes on few labels.
    FewLabel,
}

impl Experiment {
    /// Reads an experiment: a file, or one that comes with the program by its name.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn open(file: &str) -> anyhow::Result<Self> {
        let built_in = EXPERIMENTS.iter().find(|e| e.0 == file);
        let text = match built_in {
            Some((_, text)) => text.to_string(),
            None => std::fs::read_to_string(file).with_context(|| {
                let names: Vec<&str> = EXPERIMENTS.iter().map(|e| e.0).collect();
                format!(
                    "cannot read {}; the experiments that come with the program are {}",
                    file,
                    names.join(", ")
                )
            })?,
        };
        let e: Experiment = toml::from_str(&text).with_context(|| file.to_string())?;
        anyhow::ensure!(!e.case.is_empty(), "{}: no [[case]]", file);
        anyhow::ensure!(
            !e.seeds.is_empty() && !e.eval.is_empty() && !e.labels.is_empty() && e.draws > 0,
            "{}: seeds, eval, labels and draws must not be empty",
            file
        );
        e.linear.protocol()?;
        Ok(e)
    }

    /// What the file says, on another preset if one is chosen.
    ///
    /// # Errors
    /// An unknown preset, or one that no case follows; a case that leaves out a setting that is not in the grid.
    pub fn on(mut self, preset: Option<&str>) -> anyhow::Result<Self> {
        for case in &self.case {
            for key in &case.without {
                anyhow::ensure!(
                    self.grid.contains_key(key),
                    "case `{}`: `without` names {key}, which is not in the grid",
                    case.name
                );
            }
        }
        if let Some(name) = preset {
            Config::preset(name)?;
            anyhow::ensure!(
                self.case.iter().any(Case::follows),
                "--preset {name} would change nothing: every case of the experiment names its own"
            );
            self.preset = name.to_string();
            self.title = format!("{} ({name})", self.title);
            self.small.clear();
        }
        self.grid.retain(|key, _| !self.small.contains_key(key));
        let small = self.small.clone();
        self.set.extend(small);
        Ok(self)
    }

    /// Titles of the table's columns.
    pub fn columns(&self) -> Vec<String> {
        let mut out = Vec::new();
        for m in &self.eval {
            match m {
                Measure::Knn => out.push("kNN top-1, %".into()),
                Measure::Linear => out.push("linear top-1, %".into()),
                Measure::FewLabel => {
                    out.extend(self.labels.iter().map(|l| format!("{l} labels a class, %")));
                }
            }
        }
        out
    }

    /// What a finished run's files say of a measure; none where it was not measured, or by another protocol or seed, on other data, or before the run's end.
    pub fn read(&self, m: Measure, run: &Run) -> Option<Vec<f64>> {
        let protocol = self.linear.protocol().ok()?.describe();
        let own = |name: &str| {
            let (seed, epochs) = (self.linear.seed, run.config.run.epochs);
            source::read(&run.folder.join(source::own_file(name)))
                .filter(|v| source::is_own(v, &run.folder, &protocol, seed, epochs))
        };
        match m {
            Measure::Knn => {
                let summary = source::read(&run.folder.join("summary.json"))?;
                Some(vec![summary["knn_top1"].as_f64()?])
            }
            Measure::Linear => Some(vec![own(probes::LINEAR)?["linear_top1"].as_f64()?]),
            Measure::FewLabel => {
                let v = own(probes::FEW_LABEL)?;
                let rows = v["few_label"].as_array()?;
                let of = |l: &usize| {
                    let row = rows.iter().find(|r| r["labels"] == *l)?;
                    (row["draws"].as_array()?.len() == self.draws).then(|| row["top1"].as_f64())?
                };
                self.labels.iter().map(of).collect()
            }
        }
    }

    /// A run's values in all columns; none before all are there.
    pub fn results(&self, run: &Run) -> Option<Vec<f64>> {
        let mut out = Vec::new();
        for m in &self.eval {
            out.extend(self.read(*m, run)?);
        }
        Some(out)
    }
}

macro_rules! experiment {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../assets/experiments/", $name, ".toml")),
        )
    };
}

/// Experiments that come with the program.
pub const EXPERIMENTS: &[(&str, &str)] = &[
    experiment!("ablation"),
    experiment!("augmentations"),
    experiment!("backbones"),
    experiment!("heads"),
    experiment!("kappa"),
    experiment!("labels"),
    experiment!("methods"),
    experiment!("rivals"),
    experiment!("regime"),
    experiment!("cifar10-small"),
    experiment!("small-methods"),
    experiment!("temperature"),
];

/// One training of a sweep.
pub struct Run {
    pub case: String,
    /// Grid settings, as text: the points of the table that it stands at.
    pub points: Vec<Vec<(String, String)>>,
    pub folder: PathBuf,
    pub config: Config,
}

/// All combinations of the grid's values.
fn points(grid: &BTreeMap<String, Vec<toml::Value>>) -> Vec<Vec<(String, toml::Value)>> {
    let mut out = vec![Vec::new()];
    for (key, values) in grid {
        out = out
            .iter()
            .flat_map(|p| {
                values.iter().map(move |v| {
                    let mut p = p.clone();
                    p.push((key.clone(), v.clone()));
                    p
                })
            })
            .collect();
    }
    out
}

/// A name that every file system takes.
pub fn plain(text: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || ".-+_".contains(c);
    text.chars()
        .map(|c| if keep(c) { c } else { '_' })
        .collect()
}

/// A setting `n` times as large as the configuration has it.
fn times(config: &Config, key: &str, n: i64) -> anyhow::Result<String> {
    let all = toml::Table::try_from(config)?;
    let value = key
        .split_once('.')
        .and_then(|(section, field)| all.get(section)?.get(field)?.as_integer());
    let value = value.with_context(|| format!("`times`: {key} is not a setting that counts"))?;
    Ok(format!("{key}={}", value * n))
}

/// A case's configuration at a point; `over_all` overrides the file.
fn configuration(
    e: &Experiment,
    case: &Case,
    point: &[(String, toml::Value)],
    seed: u64,
    over_all: &[String],
) -> anyhow::Result<Config> {
    let text = Config::preset(&case.preset(&e.preset))?;
    let pairs = e
        .set
        .iter()
        .chain(point.iter().map(|(k, v)| (k, v)))
        .chain(&case.set);
    let mut over: Vec<String> = pairs.map(|(k, v)| format!("{k}={v}")).collect();
    over.push(format!("run.seed={seed}"));
    over.extend(over_all.iter().cloned());
    let config = Config::parse(text, &over)?;
    if case.times.is_empty() {
        return Ok(config);
    }
    for (key, n) in &case.times {
        over.push(times(&config, key, *n)?);
    }
    Ok(Config::parse(text, &over)?)
}

/// All trainings, each with a folder in `out`; `over` are settings (`section.key=value`) of every run that override the file.
///
/// # Errors
/// An unknown preset or setting, with the case's name.
pub fn runs(e: &Experiment, over: &[String], out: &Path) -> anyhow::Result<Vec<Run>> {
    let mut all = Vec::new();
    for case in &e.case {
        let mut grid = e.grid.clone();
        grid.retain(|key, _| !case.without.contains(key));
        for point in points(&grid) {
            // Where the grid goes on in settings that have no effect, the run stands at all their values.
            let agrees = |p: &[(String, toml::Value)]| point.iter().all(|kv| p.contains(kv));
            let text = |p: Vec<(String, toml::Value)>| -> Vec<(String, String)> {
                p.into_iter().map(|(k, v)| (k, v.to_string())).collect()
            };
            let at: Vec<Vec<(String, String)>> = points(&e.grid)
                .into_iter()
                .filter(|p| agrees(p))
                .map(text)
                .collect();
            let values = point
                .iter()
                .map(|(k, v)| format!("{}={v}", k.rsplit('.').next().unwrap_or(k)));
            let parts: Vec<String> = std::iter::once(case.name.clone()).chain(values).collect();
            for seed in &e.seeds {
                let config = configuration(e, case, &point, *seed, over)
                    .with_context(|| format!("case `{}`", case.name))?;
                let name = format!("{}-{seed}", parts.join("-"));
                all.push(Run {
                    case: case.name.clone(),
                    points: at.clone(),
                    folder: out.join(plain(&name)),
                    config,
                });
            }
        }
    }
    Ok(all)
}
