//! `amcl-wgpu sweep`.

use super::console::{Console, Voice};
use super::eval::probes;
use super::opened::On;
use amcl_wgpu::device::Choice;
use amcl_wgpu::report::sweep::{Row, Table};
use amcl_wgpu::train::TrainError;
use amcl_wgpu::train::checkpoint::{present, write_atomically};
use amcl_wgpu::train::config::Config;
use amcl_wgpu::train::trainer::{Request, train};
use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Runs a grid of trainings and tables them: cases, settings and seeds from a file. Runs that are done are not done again; one that was interrupted goes on.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The experiment (TOML): see assets/experiments, or the name of one of these.
    file: String,
    /// Folder of the runs; default: sweeps/<name>.
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// auto, cpu, gpu, gpu:N or part of an adapter's name.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Data, for every run.
    #[arg(long)]
    data: Option<String>,
    /// Print the runs, run none.
    #[arg(long)]
    list: bool,
    /// Override a setting in every run: --set run.epochs=20
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// A case: a method, or a variant of one.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct Case {
    name: String,
    preset: Option<String>,
    set: BTreeMap<String, toml::Value>,
}

/// An experiment file.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
struct Experiment {
    /// For people: what it shows, where the published numbers are.
    title: String,
    /// Preset of the cases that name none.
    preset: String,
    /// Settings of every run.
    set: BTreeMap<String, toml::Value>,
    /// Values of settings, all combinations.
    grid: BTreeMap<String, Vec<toml::Value>>,
    /// Seeds of every combination.
    seeds: Vec<u64>,
    /// What is measured of every run, each a column of the table: `knn`, `linear`, `few_label`; nothing said: `knn`.
    eval: Vec<Measure>,
    /// The linear probe's protocol and what differs from it, as the flags of `eval linear`.
    linear: probes::Setting,
    /// Labels a class of `few_label`.
    labels: Vec<usize>,
    /// Draws of each.
    draws: usize,
    /// Cases.
    case: Vec<Case>,
}

impl Default for Experiment {
    fn default() -> Self {
        Self {
            title: String::new(),
            preset: String::new(),
            set: BTreeMap::new(),
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
enum Measure {
    /// kNN accuracy at the end of training.
    Knn,
    /// The linear probe.
    Linear,
    /// Linear probes on few labels.
    FewLabel,
}

impl Experiment {
    /// Titles of the table's columns.
    fn columns(&self) -> Vec<String> {
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

    /// What a finished run's files say of a measure; none where it was not measured, or by another protocol.
    fn read(&self, m: Measure, folder: &Path) -> Option<Vec<f64>> {
        let json = |name: &str| -> Option<Value> {
            serde_json::from_str(&std::fs::read_to_string(folder.join(name)).ok()?).ok()
        };
        let protocol = self.linear.protocol().ok()?.describe();
        let ours = |v: &Value| v["protocol"] == protocol.as_str();
        match m {
            Measure::Knn => Some(vec![json("summary.json")?["knn_top1"].as_f64()?]),
            Measure::Linear => {
                let v = json(probes::LINEAR).filter(ours)?;
                Some(vec![v["linear_top1"].as_f64()?])
            }
            Measure::FewLabel => {
                let v = json(probes::FEW_LABEL).filter(ours)?;
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
    fn results(&self, folder: &Path) -> Option<Vec<f64>> {
        let mut out = Vec::new();
        for m in &self.eval {
            out.extend(self.read(*m, folder)?);
        }
        Some(out)
    }

    /// Measures what is missing of a run that has ended.
    fn measure(&self, run: &Run, args: &Args, console: &Console) -> anyhow::Result<()> {
        let on = On {
            run: run.folder.clone(),
            data: None,
            device: args.device.clone(),
        };
        for m in &self.eval {
            if self.read(*m, &run.folder).is_some() {
                continue;
            }
            match m {
                Measure::Knn => anyhow::bail!(
                    "{} has no kNN accuracy: its data has no labels or no test images",
                    run.folder.display()
                ),
                Measure::Linear => drop(probes::linear(&on, &self.linear, console)?),
                Measure::FewLabel => drop(probes::few_label(
                    &on,
                    &self.linear,
                    &self.labels,
                    self.draws,
                    console,
                )?),
            }
        }
        Ok(())
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
const EXPERIMENTS: &[(&str, &str)] = &[
    experiment!("ablation"),
    experiment!("augmentations"),
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
struct Run {
    case: String,
    /// Grid settings, as text.
    point: Vec<(String, String)>,
    folder: PathBuf,
    config: Config,
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
fn plain(text: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || ".-+_".contains(c);
    text.chars()
        .map(|c| if keep(c) { c } else { '_' })
        .collect()
}

fn runs(e: &Experiment, args: &Args, out: &Path) -> anyhow::Result<Vec<Run>> {
    let mut all = Vec::new();
    for case in &e.case {
        let text = Config::preset(case.preset.as_ref().unwrap_or(&e.preset))?;
        for point in points(&e.grid) {
            for seed in &e.seeds {
                let mut over: Vec<String> = Vec::new();
                let pairs = e
                    .set
                    .iter()
                    .chain(point.iter().map(|(k, v)| (k, v)))
                    .chain(&case.set);
                over.extend(pairs.map(|(k, v)| format!("{k}={v}")));
                over.push(format!("run.seed={seed}"));
                if let Some(d) = &args.data {
                    over.push(format!("data.path={}", toml::Value::String(d.clone())));
                }
                over.extend(args.set.iter().cloned());
                let config =
                    Config::parse(text, &over).with_context(|| format!("case `{}`", case.name))?;
                let point: Vec<(String, String)> = point
                    .iter()
                    .map(|(k, v)| (k.clone(), v.to_string()))
                    .collect();
                let values: Vec<String> = point
                    .iter()
                    .map(|(k, v)| format!("{}={v}", k.rsplit('.').next().unwrap_or(k)))
                    .collect();
                let mut parts = vec![case.name.clone()];
                parts.extend(values);
                let name = format!("{}-{seed}", parts.join("-"));
                all.push(Run {
                    case: case.name.clone(),
                    point,

                    folder: out.join(plain(&name)),
                    config,
                });
            }
        }
    }
    Ok(all)
}

/// Whether the run's folder holds a configuration already; it must be this one.
fn begun(run: &Run) -> anyhow::Result<bool> {
    let Ok(text) = std::fs::read_to_string(run.folder.join("config.toml")) else {
        return Ok(false);
    };
    anyhow::ensure!(
        Config::parse(&text, &[])? == run.config,
        "{} holds a run of another configuration; choose another --out",
        run.folder.display()
    );
    Ok(true)
}

/// Trains a run, or goes on where it was interrupted; false when it was again.
fn one(run: &Run, args: &Args, console: &Arc<Console>) -> anyhow::Result<bool> {
    let resume = begun(run)? && present(&run.folder.join("checkpoints"));
    let (reader, name) = (console.clone(), run.folder.display().to_string());
    let outcome = train(Request {
        config: run.config.clone(),
        device: args.device.clone(),
        out: run.folder.clone(),
        resume,
        // What a run left that was killed before its first checkpoint.
        overwrite: !resume,
        profile: false,
        autotune: true,
        twins: Vec::new(),
        stop: &super::train::STOP,
        init: None,
        decoding: Box::new(move |done, all| reader.progress(done, all, "decoding images")),
        tell: &mut |_| (),
        progress: &mut |done, all, text| console.progress(done, all, &format!("{name}: {text}")),
        epoch_end: &mut || (),
    })?;
    Ok(outcome.finished)
}

/// The table: a row for every case and point, over its seeds.
fn table(e: &Experiment, all: &[Run]) -> Table {
    let mut rows: Vec<Row> = Vec::new();
    for run in all {
        let same = |r: &Row| r.case == run.case && r.point == run.point;
        let at = rows.iter().position(same).unwrap_or_else(|| {
            rows.push(Row {
                case: run.case.clone(),
                point: run.point.clone(),
                runs: Vec::new(),
            });
            rows.len() - 1
        });
        rows[at].runs.extend(e.results(&run.folder));
    }
    Table {
        title: e.title.clone(),
        columns: e.columns(),
        rows,
    }
}

/// Runs the verb; false when interrupted.
///
/// # Errors
/// The experiment file; a run that fails.
pub fn run(args: &Args, voice: Voice) -> anyhow::Result<bool> {
    let built_in = EXPERIMENTS.iter().find(|e| e.0 == args.file);
    let text = match built_in {
        Some((_, text)) => text.to_string(),
        None => std::fs::read_to_string(&args.file).with_context(|| {
            let names: Vec<&str> = EXPERIMENTS.iter().map(|e| e.0).collect();
            format!(
                "cannot read {}; the experiments that come with the program are {}",
                args.file,
                names.join(", ")
            )
        })?,
    };
    let e: Experiment = toml::from_str(&text).with_context(|| args.file.clone())?;
    anyhow::ensure!(!e.case.is_empty(), "{}: no [[case]]", args.file);
    anyhow::ensure!(
        !e.seeds.is_empty() && !e.eval.is_empty() && !e.labels.is_empty() && e.draws > 0,
        "{}: seeds, eval, labels and draws must not be empty",
        args.file
    );
    e.linear.protocol()?;
    let stem = Path::new(&args.file)
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned());
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| Path::new("sweeps").join(stem.unwrap_or_default()));
    let all = runs(&e, args, &out)?;
    let console = Arc::new(voice.console());
    if args.list {
        let names: Vec<String> = all.iter().map(|r| r.folder.display().to_string()).collect();
        console.result(&names.join("\n"), &json!({"runs": names}));
        return Ok(true);
    }
    for r in &all {
        begun(r)?;
    }
    super::train::catch_signals()?;
    std::fs::create_dir_all(&out)?;
    let mut failed = Vec::new();
    for (i, r) in all.iter().enumerate() {
        let stop = || super::train::STOP.load(Ordering::Relaxed);
        if e.results(&r.folder).is_none() {
            console.say(&format!(
                "{} of {}: {}",
                i + 1,
                all.len(),
                r.folder.display()
            ));
            let ended = match r.folder.join("summary.json").exists() {
                true => true,
                false => match one(r, args, &console) {
                    Ok(ended) => ended,
                    // A result too: this setting does not train. The others may.
                    Err(e) if diverged(&e) => {
                        console.warn(&format!("{}: {e:#}", r.folder.display()));
                        failed.push(r.folder.display().to_string());
                        continue;
                    }
                    Err(e) => return Err(e),
                },
            };
            if ended && !stop() {
                e.measure(r, args, &console)?;
            }
        }
        let table = table(&e, &all);
        write_atomically(&out.join("table.md"), table.markdown().as_bytes())?;
        write_atomically(&out.join("report.html"), table.page().as_bytes())?;
        if stop() {
            console.say("stopped; the same command goes on where this stopped");
            return Ok(false);
        }
    }
    let table = table(&e, &all);
    let page = out.join("report.html").display().to_string();
    console.result(
        &format!("{}\n{page}", table.markdown()),
        &json!({"columns": table.columns, "rows": list(&table), "report": page, "failed": failed}),
    );
    anyhow::ensure!(
        failed.is_empty(),
        "{} of {} runs did not train to their end: {}",
        failed.len(),
        all.len(),
        failed.join(", ")
    );
    Ok(true)
}

/// The run's loss was not finite, which the next run's need not be.
fn diverged(e: &anyhow::Error) -> bool {
    matches!(e.downcast_ref(), Some(TrainError::NonFinite(_)))
}

/// The rows for programs.
fn list(table: &Table) -> Vec<Value> {
    let columns = 0..table.columns.len();
    let of = |r: &Row| {
        let mean: Vec<_> = columns.clone().map(|c| r.mean(c)).collect();
        let deviation: Vec<_> = columns.clone().map(|c| r.deviation(c)).collect();
        json!({"case": r.case, "point": r.point, "runs": r.runs, "mean": mean, "deviation": deviation})
    };
    table.rows.iter().map(of).collect()
}
