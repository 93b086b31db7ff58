//! The trainings of an experiment, and what their folders say of what was measured.

use super::file::{Case, Experiment, Grid, Measure};
use super::{ExperimentError, Result};
use crate::config::{Config, ConfigError};
use crate::downstream::encoder::Feature;
use crate::downstream::protocols::{FEW_LABEL, FINETUNE, KNN, LINEAR, knn_protocol};
use crate::downstream::record::{file_name, own_file, read, read_own};
use crate::eval::knn::{Distance, Vote};
use crate::methods;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One training of a sweep.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The case's name.
    pub case: String,
    /// The points of the table at which its result stands. A point is the grid's settings and their values, as text.
    pub points: Vec<Vec<(String, String)>>,
    /// The seed of the experiment that it is for.
    pub seed: u64,
    /// The run's folder.
    pub folder: PathBuf,
    /// Its configuration.
    pub config: Config,
    /// The folder of the training whose weights it starts from.
    pub init: Option<PathBuf>,
    /// The features of its encoder that are measured.
    pub features: Vec<Feature>,
    /// Measures that are not made of it.
    pub skip: Vec<Measure>,
}

/// A combination of the grid's values.
type Point = Vec<(String, toml::Value)>;

/// All combinations of the grid's values.
fn points(grid: &Grid) -> Vec<Point> {
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

/// A setting `n` times as large as the configuration has it, as an override.
fn times(config: &Config, key: &str, n: i64) -> std::result::Result<String, ConfigError> {
    let all = toml::Table::try_from(config).map_err(|e| ConfigError(e.to_string()))?;
    let value = key
        .split_once('.')
        .and_then(|(section, field)| all.get(section)?.get(field)?.as_integer());
    match value.and_then(|v| v.checked_mul(n)) {
        Some(product) => Ok(format!("{key}={product}")),
        None => Err(ConfigError(format!(
            "`times`: {key} is not a setting that counts, or the product is too large"
        ))),
    }
}

/// A case's configuration at a point. `over_all` are overrides that come last but for the case's factors.
fn configuration(
    e: &Experiment,
    case: &Case,
    point: &[(String, toml::Value)],
    seed: u64,
    over_all: &[String],
) -> std::result::Result<Config, ConfigError> {
    let text = Config::preset(&case.preset(&e.preset))?;
    let own = method_keys(text, e, case);
    // What the experiment sets for all its cases may be of one method alone.
    let has = |key: &str| match key.strip_prefix("method.") {
        Some(key) => key == "name" || own.iter().any(|k| k == key),
        None => true,
    };
    let pairs = e
        .set
        .iter()
        .filter(|(key, _)| has(key))
        .chain(
            point
                .iter()
                .map(|(k, v)| (case.instead.get(k).unwrap_or(k), v)),
        )
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
    Config::parse(text, &over)
}

/// The keys of `[method]` that a case's method has: of the method that the case names, the experiment, or the preset.
fn method_keys(text: &str, e: &Experiment, case: &Case) -> Vec<String> {
    let of =
        |set: &BTreeMap<String, toml::Value>| Some(set.get("method.name")?.as_str()?.to_string());
    let of_preset = || {
        let table: toml::Table = text.parse().ok()?;
        Some(table.get("method")?.get("name")?.as_str()?.to_string())
    };
    let name = of(&case.set).or_else(|| of(&e.set)).or_else(of_preset);
    let spec = methods::spec(name.as_deref().unwrap_or("simclr"));
    // A name that there is not is refused with the rest of the configuration.
    spec.map_or_else(|_| Vec::new(), |s| (s.keys)())
}

/// Trainings of an experiment at most. More would take months, and come of a mistake in the grid.
const MOST: usize = 10_000;

/// The grid of a case.
fn grid(e: &Experiment, case: &Case) -> Grid {
    let mut grid = e.grid.clone();
    grid.extend(case.grid.clone());
    grid
}

/// Checks the number of trainings before they are made up.
fn countable(e: &Experiment) -> Result<()> {
    let grids: Vec<Grid> = e.case.iter().map(|c| grid(e, c)).collect();
    let mut settings = grids.iter().flatten();
    if let Some((key, _)) = settings.find(|(_, values)| values.is_empty()) {
        let text = format!("grid: {key} has no values; give one or more, or leave it out");
        return Err(ExperimentError::File(text));
    }
    let of_case = |grid: &Grid| {
        grid.values()
            .map(Vec::len)
            .try_fold(1usize, usize::checked_mul)
    };
    let of_seed = grids
        .iter()
        .try_fold(0usize, |sum, grid| sum.checked_add(of_case(grid)?));
    let all = of_seed.and_then(|n| n.checked_mul(e.seeds.len()));
    match all {
        Some(all) if all <= MOST => Ok(()),
        _ => Err(ExperimentError::File(format!(
            "cases, grid and seeds make {} trainings; expected at most {MOST}",
            all.map_or("too many".into(), |n| n.to_string())
        ))),
    }
}

/// Checks that no two trainings have one folder: the second would be taken for the first.
fn apart(all: &[Trial]) -> Result<()> {
    let mut folders = BTreeSet::new();
    match all.iter().find(|t| !folders.insert(&t.folder)) {
        None => Ok(()),
        Some(t) => Err(ExperimentError::File(format!(
            "two trainings would be in {}: cases, values of the grid and seeds need to differ, in letters and digits",
            t.folder.display()
        ))),
    }
}

/// All trainings of an experiment, each with a folder in `out`: all of the first seed, then all of the next, so that a
/// sweep that is stopped early has compared all cases. `over` are settings (`section.key=value`) of
/// every training, which override the file.
pub(super) fn trials(e: &Experiment, over: &[String], out: &Path) -> Result<Vec<Trial>> {
    countable(e)?;
    let mut all = Vec::new();
    for case in &e.case {
        let mut grid = grid(e, case);
        let everywhere = points(&grid);
        grid.retain(|key, _| !case.without.contains(key));
        for point in points(&grid) {
            // The result stands at all values of the settings that have no effect on the case.
            let agrees = |p: &&Point| point.iter().all(|kv| p.contains(kv));
            let text = |p: &Point| -> Vec<(String, String)> {
                p.iter().map(|(k, v)| (k.clone(), v.to_string())).collect()
            };
            let at: Vec<Vec<(String, String)>> = match case.without.is_empty() {
                true => vec![text(&point)],
                false => everywhere.iter().filter(|p| agrees(p)).map(text).collect(),
            };
            let values = point
                .iter()
                .map(|(k, v)| format!("{}={v}", k.rsplit('.').next().unwrap_or(k)));
            let from = case.init.iter().map(|i| format!("from {i}"));
            let parts: Vec<String> = std::iter::once(case.name.clone())
                .chain(from)
                .chain(values)
                .collect();
            for seed in &e.seeds {
                let of_case = |source| ExperimentError::Case {
                    case: case.name.clone(),
                    source,
                };
                let config = configuration(e, case, &point, *seed, over).map_err(of_case)?;
                let encoder = config.backbone().map_err(of_case)?;
                let name = format!("{}-{seed}", parts.join("-"));
                all.push(Trial {
                    case: case.name.clone(),
                    points: at.clone(),
                    seed: *seed,
                    folder: out.join(file_name(&name)),
                    features: Feature::of(encoder.as_ref(), &[])?,
                    config,
                    skip: case.skip.clone(),
                    init: None,
                });
            }
        }
    }
    apart(&all)?;
    // Stable, so that cases and points stay in the order of the file.
    all.sort_by_key(|t| e.seeds.iter().position(|s| *s == t.seed));
    ordered(e, all)
}

/// Finds the training that each one starts from, and brings those that others start from before these; else the order
/// stays.
fn ordered(e: &Experiment, mut all: Vec<Trial>) -> Result<Vec<Trial>> {
    let mut starts = Vec::new();
    for t in &all {
        let case = e.case.iter().find(|c| c.name == t.case);
        let start = case.and_then(|c| c.init.as_ref()).map(|name| {
            let fits = |s: &Trial| {
                s.case == *name
                    && s.seed == t.seed
                    && s.points.iter().any(|p| t.points.contains(p))
            };
            let found = (0..all.len()).filter(|i| fits(&all[*i]));
            match found.collect::<Vec<_>>()[..] {
                [one] => Ok(one),
                _ => Err(ExperimentError::File(format!(
                    "case `{}`: `init` names `{name}`, which has a run for each value of a setting of the grid that \
                     this case is `without`: name the setting in neither or in both",
                    t.case
                ))),
            }
        });
        starts.push(start.transpose()?);
    }
    for (i, start) in starts.iter().enumerate() {
        all[i].init = start.map(|s| all[s].folder.clone());
    }
    let mut order: Vec<usize> = Vec::new();
    for i in 0..all.len() {
        let mut chain: Vec<usize> = std::iter::successors(Some(i), |i| starts[*i]).collect();
        chain.reverse();
        for i in chain {
            if !order.contains(&i) {
                order.push(i);
            }
        }
    }
    let mut all: Vec<Option<Trial>> = all.into_iter().map(Some).collect();
    Ok(order.iter().filter_map(|i| all[*i].take()).collect())
}

/// Whether the training of a folder went to its end.
pub(super) fn ended(folder: &Path) -> bool {
    folder.join("summary.json").exists()
}

impl Trial {
    /// Whether the folder holds a run's configuration already.
    ///
    /// # Errors
    /// It holds another configuration than this training's.
    pub(super) fn begun(&self) -> Result<bool> {
        let Ok(text) = std::fs::read_to_string(self.folder.join("config.toml")) else {
            return Ok(false);
        };
        if Config::parse(&text, &[])? != self.config {
            return Err(ExperimentError::File(format!(
                "{} holds a run of another configuration; choose another --out",
                self.folder.display()
            )));
        }
        Ok(true)
    }

    /// Its features have no names: the encoder has the pooled one alone.
    pub(super) fn is_plain(&self) -> bool {
        self.features == [Feature::Backbone]
    }

    /// The result of a measure that the folder holds. None where it was not measured after the run's end, or only by
    /// another protocol or seed or on other data.
    fn record(&self, e: &Experiment, m: Measure) -> Option<Value> {
        let crop = self.config.augment.test_in_words();
        let own = |name: &str| {
            let protocol = e.linear.resolve().ok()?;
            let protocol = protocol.describe(&Feature::list(&self.features)) + &crop;
            let (seed, epochs) = (e.linear.seed, self.config.run.epochs);
            read_own(&self.folder, name, &protocol, seed, epochs)
        };
        match m {
            Measure::Knn if self.is_plain() => read(&self.folder.join("summary.json")),
            Measure::Knn => {
                let r = &self.config.run;
                let vote = Vote {
                    k: r.knn_k,
                    t: r.knn_t,
                    distance: Distance::Cosine,
                };
                let found = read(&own_file(&self.folder, KNN))?;
                let n = usize::try_from(found["bank"].as_u64()?).ok()?;
                let protocol = knn_protocol(vote, n, &self.features) + &crop;
                read_own(&self.folder, KNN, &protocol, r.seed, r.epochs)
            }
            Measure::Linear => own(LINEAR),
            Measure::FewLabel => own(FEW_LABEL),
            Measure::Finetune => {
                let s = e.fine_tuning().ok()?.settings(&self.config).ok()?;
                let epochs = self.config.run.epochs;
                read_own(
                    &self.folder,
                    FINETUNE,
                    &(s.describe() + &crop),
                    s.seed,
                    epochs,
                )
            }
        }
    }

    /// What the folder's files say of a measure: its numbers by each of [`Trial::features`], or by one where it is of
    /// the whole encoder, or by none where the case skips it. None where it was not measured after the run's end, or
    /// only by another protocol or seed or on other data.
    pub fn measured(&self, e: &Experiment, m: Measure) -> Option<Vec<Vec<f64>>> {
        if self.skip.contains(&m) {
            return Some(Vec::new());
        }
        let record = self.record(e, m)?;
        if m == Measure::Finetune {
            let rows = record["finetune"].as_array()?;
            let whole = rows.iter().find(|r| r["fraction"] == 1.0)?;
            return Some(vec![vec![whole["top1"].as_f64()?]]);
        }
        let of = |feature: &Feature| {
            let v = match feature {
                Feature::Backbone => &record,
                named => &record["features"][named.name()],
            };
            match m {
                Measure::Knn => Some(vec![v["knn_top1"].as_f64()?]),
                Measure::Linear => Some(vec![v["linear_top1"].as_f64()?]),
                Measure::Finetune => None,
                Measure::FewLabel => {
                    let rows = v["few_label"].as_array()?;
                    let of = |l: &usize| {
                        let row = rows.iter().find(|r| r["labels"] == *l)?;
                        (row["draws"].as_array()?.len() == e.draws).then(|| row["top1"].as_f64())?
                    };
                    e.labels.iter().map(of).collect()
                }
            }
        };
        self.features.iter().map(of).collect()
    }

    /// The commit of the program that began its training, where the folder's files say it.
    pub(super) fn commit(&self) -> Option<String> {
        let environment = read(&self.folder.join("environment.json"))?;
        Some(environment["commit"].as_str()?.to_string())
    }

    /// All that is measured of it, as [`Trial::measured`]. None before all is there.
    pub fn results(&self, e: &Experiment) -> Option<Vec<(Measure, Vec<Vec<f64>>)>> {
        let of = |m: &Measure| Some((*m, self.measured(e, *m)?));
        e.eval.iter().map(of).collect()
    }
}
