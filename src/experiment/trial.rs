//! The trainings of an experiment, and what their folders say of what was measured.

use super::file::{Case, Experiment, Measure};
use super::{ExperimentError, Result};
use crate::config::{Config, ConfigError};
use crate::downstream::protocols::{FEW_LABEL, LINEAR};
use crate::downstream::record::{file_name, read, read_own};
use crate::methods;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One training of a sweep.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The case's name.
    pub case: String,
    /// The points of the table at which its result stands. A point is the grid's settings and their values, as text.
    pub points: Vec<Vec<(String, String)>>,
    /// The run's folder.
    pub folder: PathBuf,
    /// Its configuration.
    pub config: Config,
    /// The folder of the training whose weights it starts from.
    pub init: Option<PathBuf>,
}

/// A combination of the grid's values.
type Point = Vec<(String, toml::Value)>;

/// All combinations of the grid's values.
fn points(grid: &BTreeMap<String, Vec<toml::Value>>) -> Vec<Point> {
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

/// Checks the number of trainings before they are made up.
fn countable(e: &Experiment) -> Result<()> {
    if let Some((key, _)) = e.grid.iter().find(|(_, values)| values.is_empty()) {
        let text = format!("grid: {key} has no values; give one or more, or leave it out");
        return Err(ExperimentError::File(text));
    }
    let counts = e.grid.values().map(Vec::len);
    let all = counts
        .chain([e.case.len(), e.seeds.len()])
        .try_fold(1usize, usize::checked_mul);
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

/// The folder of the training of a case at the points `at` of the table with a seed; none where it was trained for
/// some of them alone.
fn source(
    all: &[Trial],
    case: &str,
    (at, seed): (&[Vec<(String, String)>], u64),
) -> Option<PathBuf> {
    let is = |t: &&Trial| {
        t.case == case && t.config.run.seed == seed && at.iter().all(|p| t.points.contains(p))
    };
    all.iter().find(is).map(|t| t.folder.clone())
}

/// All trainings of an experiment, each with a folder in `out`. `over` are settings (`section.key=value`) of
/// every training, which override the file.
pub(super) fn trials(e: &Experiment, over: &[String], out: &Path) -> Result<Vec<Trial>> {
    countable(e)?;
    let everywhere = points(&e.grid);
    let mut all: Vec<Trial> = Vec::new();
    for case in &e.case {
        let mut grid = e.grid.clone();
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
            let parts: Vec<String> = std::iter::once(case.name.clone()).chain(values).collect();
            for seed in &e.seeds {
                let config = configuration(e, case, &point, *seed, over).map_err(|source| {
                    ExperimentError::Case {
                        case: case.name.clone(),
                        source,
                    }
                })?;
                let name = format!("{}-{seed}", parts.join("-"));
                let init = match &case.init {
                    None => None,
                    Some(from) => Some(source(&all, from, (&at, *seed)).ok_or_else(|| {
                        ExperimentError::File(format!(
                            "case `{}`: `init` names `{from}`, which has one training for several values of the grid \
                             that this case is trained once for, or the reverse: give both the same `without`",
                            case.name
                        ))
                    })?),
                };
                all.push(Trial {
                    case: case.name.clone(),
                    points: at.clone(),
                    folder: out.join(file_name(&name)),
                    config,
                    init,
                });
            }
        }
    }
    apart(&all)?;
    Ok(all)
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

    /// Whether the training went to its end.
    pub(super) fn ended(&self) -> bool {
        self.folder.join("summary.json").exists()
    }

    /// What the folder's files say of a measure. None where it was not measured after the run's end, or only
    /// by another protocol or seed or on other data.
    pub fn measured(&self, e: &Experiment, m: Measure) -> Option<Vec<f64>> {
        let own = |name: &str| {
            let protocol = e.linear.resolve().ok()?.describe();
            let (seed, epochs) = (e.linear.seed, self.config.run.epochs);
            read_own(&self.folder, name, &protocol, seed, epochs)
        };
        match m {
            Measure::Knn => {
                let summary = read(&self.folder.join("summary.json"))?;
                Some(vec![summary["knn_top1"].as_f64()?])
            }
            Measure::Linear => Some(vec![own(LINEAR)?["linear_top1"].as_f64()?]),
            Measure::FewLabel => {
                let v = own(FEW_LABEL)?;
                let rows = v["few_label"].as_array()?;
                let of = |l: &usize| {
                    let row = rows.iter().find(|r| r["labels"] == *l)?;
                    (row["draws"].as_array()?.len() == e.draws).then(|| row["top1"].as_f64())?
                };
                e.labels.iter().map(of).collect()
            }
        }
    }

    /// The values of all columns of the table. None before all are there.
    pub fn results(&self, e: &Experiment) -> Option<Vec<f64>> {
        let mut out = Vec::new();
        for m in &e.eval {
            out.extend(self.measured(e, *m)?);
        }
        Some(out)
    }
}
