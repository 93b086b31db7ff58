//! `amcl-wgpu sweep`.

use super::console::{Console, Voice};
use amcl_wgpu::device::Choice;
use amcl_wgpu::report::sweep::{Row, page};
use amcl_wgpu::train::checkpoint::write_atomically;
use amcl_wgpu::train::config::Config;
use amcl_wgpu::train::trainer::{Request, train};
use anyhow::Context;
use serde::Deserialize;
use serde_json::json;
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
#[derive(Deserialize, Debug, Default)]
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
    /// Cases.
    case: Vec<Case>,
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
    experiment!("methods"),
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
    let seeds = if e.seeds.is_empty() {
        &vec![0]
    } else {
        &e.seeds
    };
    for case in &e.case {
        let text = Config::preset(case.preset.as_ref().unwrap_or(&e.preset))?;
        for point in points(&e.grid) {
            for seed in seeds {
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

/// The accuracies of a run that has ended.
fn accuracy(folder: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(folder.join("summary.json")).ok()?;
    serde_json::from_str::<serde_json::Value>(&text).ok()?["knn_top1"].as_f64()
}

fn one(run: &Run, args: &Args, console: &Arc<Console>) -> anyhow::Result<bool> {
    let saved = std::fs::read_to_string(run.folder.join("config.toml")).ok();
    let resume = saved.is_some();
    if let Some(text) = saved {
        anyhow::ensure!(
            Config::parse(&text, &[])? == run.config,
            "{} holds a run of another configuration; choose another --out",
            run.folder.display()
        );
    }
    let (reader, name) = (console.clone(), run.folder.display().to_string());
    let outcome = train(Request {
        config: run.config.clone(),
        device: args.device.clone(),
        out: run.folder.clone(),
        resume,
        overwrite: false,
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

/// Rows of the table: one a case and point, over its seeds.
fn rows(all: &[Run]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for run in all {
        let same = |r: &&mut Row| r.case == run.case && r.point == run.point;
        if rows.iter_mut().find(same).is_none() {
            rows.push(Row {
                case: run.case.clone(),
                point: run.point.clone(),
                values: Vec::new(),
            });
        }
        let done = accuracy(&run.folder);
        if let (Some(row), Some(v)) = (rows.iter_mut().find(same), done) {
            row.values.push(v);
        }
    }
    rows
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
        console.result(&names.join("\n"), &json!(names));
        return Ok(true);
    }
    super::train::catch_signals()?;
    std::fs::create_dir_all(&out)?;
    let mut finished = true;
    for (i, r) in all.iter().enumerate() {
        if accuracy(&r.folder).is_none() {
            console.say(&format!(
                "{} of {}: {}",
                i + 1,
                all.len(),
                r.folder.display()
            ));
            finished = one(r, args, &console)?;
        }
        let rows = rows(&all);
        write_atomically(&out.join("table.md"), Row::table(&rows).as_bytes())?;
        write_atomically(&out.join("report.html"), page(&e.title, &rows).as_bytes())?;
        if !finished || super::train::STOP.load(Ordering::Relaxed) {
            console.say("stopped; the same command goes on where this stopped");
            return Ok(false);
        }
    }
    let rows = rows(&all);
    let list: Vec<_> = rows
        .iter()
        .map(|r| json!({"case": r.case, "point": r.point, "knn_top1": r.values, "mean": r.mean(), "deviation": r.deviation()}))
        .collect();
    console.result(
        &format!(
            "{}\n{}",
            Row::table(&rows),
            out.join("report.html").display()
        ),
        &json!({"rows": list, "report": out.join("report.html").display().to_string()}),
    );
    Ok(finished)
}
