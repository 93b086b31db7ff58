//! `amcl-wgpu sweep`.

use super::console::{Console, Voice};
use super::eval::probes;
use super::experiment::{Experiment, Measure, Run, runs};
use super::opened::On;
use amcl_wgpu::config::Config;
use amcl_wgpu::device::Choice;
use amcl_wgpu::report::sweep::{Row, Table};
use amcl_wgpu::run::checkpoint::{present, write_atomically};
use amcl_wgpu::train::TrainError;
use amcl_wgpu::train::trainer::{Request, train};
use anyhow::Context;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Runs a grid of trainings and tables them: cases, settings and seeds from a file. Runs that are done are not done again; one that was interrupted goes on.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The experiment (TOML): see assets/experiments, or the name of one of these.
    file: String,
    /// Another preset instead of the experiment's own, for every case; what makes the experiment small (its `[small]`) then does not apply: `sweep heads --preset
    /// simclr-amcl-stl10 --data FOLDER`. What a case or the grid changes is changed all the same; a case that names a preset by `moco-*` takes the one for the same data set.
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Folder of the runs; default: sweeps/<name>, or sweeps/<name>-<preset> with --preset.
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// auto, cpu, gpu, gpu:N or part of an adapter's name.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Data, for every run.
    #[arg(long)]
    data: Option<String>,
    /// Print the runs (with --json: and their complete settings), run none.
    #[arg(long)]
    list: bool,
    /// Override a setting in every run: --set run.epochs=20
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Measures what is missing of a run that has ended.
fn measure(e: &Experiment, run: &Run, args: &Args, console: &Console) -> anyhow::Result<()> {
    let on = On {
        run: run.folder.clone(),
        data: None,
        device: args.device.clone(),
    };
    for m in &e.eval {
        if e.read(*m, run).is_some() {
            continue;
        }
        match m {
            Measure::Knn => anyhow::bail!(
                "{} has no kNN accuracy: its data has no labels or no test images",
                run.folder.display()
            ),
            Measure::Linear => drop(probes::linear(&on, &e.linear, console)?),
            Measure::FewLabel => drop(probes::few_label(
                &on, &e.linear, &e.labels, e.draws, console,
            )?),
        }
        anyhow::ensure!(
            e.read(*m, run).is_some(),
            "{0}: the data there are not those that the run was trained on, which {0}/log.txt names",
            run.folder.display()
        );
    }
    Ok(())
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
        let results = e.results(run);
        for point in &run.points {
            let same = |r: &Row| r.case == run.case && r.point == *point;
            let at = rows.iter().position(same).unwrap_or_else(|| {
                rows.push(Row {
                    case: run.case.clone(),
                    point: point.clone(),
                    runs: Vec::new(),
                });
                rows.len() - 1
            });
            rows[at].runs.extend(results.clone());
        }
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
    let e = Experiment::open(&args.file)?;
    let e = e
        .on(args.preset.as_deref())
        .with_context(|| args.file.clone())?;
    let stem = Path::new(&args.file).file_stem();
    let stem = stem.map(|s| s.to_string_lossy().into_owned());
    let parts: Vec<String> = stem.into_iter().chain(args.preset.clone()).collect();
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| Path::new("sweeps").join(parts.join("-")));
    let data = args.data.as_ref();
    let data = data.map(|d| format!("data.path={}", toml::Value::String(d.clone())));
    let over: Vec<String> = data.into_iter().chain(args.set.iter().cloned()).collect();
    let all = runs(&e, &over, &out)?;
    let console = Arc::new(voice.console());
    if args.list {
        let names: Vec<String> = all.iter().map(|r| r.folder.display().to_string()).collect();
        let settings: Vec<&Config> = all.iter().map(|r| &r.config).collect();
        let value = json!({"title": e.title, "runs": names, "settings": settings});
        console.result(&names.join("\n"), &value);
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
        if e.results(r).is_none() {
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
                measure(&e, r, args, &console)?;
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
