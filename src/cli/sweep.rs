//! `amcl-wgpu sweep`.

use super::console::{Console, OutputOptions};
use amcl_wgpu::config::Config;
use amcl_wgpu::device::Choice;
use amcl_wgpu::experiment::{Event, Experiment, Finished, PAGE, Row, Sweep, Table};
use amcl_wgpu::report;
use amcl_wgpu::run::checkpoint::write_atomically;
use anyhow::Context;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Trains all cases, settings and seeds of an experiment file and prints a table. Runs that are done are not
/// done again; one that was interrupted goes on.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The experiment (TOML): see assets/experiments, or the name of one of these.
    file: String,
    /// Use this preset in place of the experiment's own, at full size (`[small]` does not apply): `sweep
    /// heads --preset simclr-amcl-stl10 --data FOLDER`. The changes of cases and grid apply. A case whose
    /// preset is `moco-*` takes the one for the same data set.
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Folder of the runs; default: sweeps/<name>, or sweeps/<name>-<preset> with --preset.
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// auto, cpu, gpu, gpu:N or part of an adapter's name.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Data of every run.
    #[arg(long)]
    data: Option<String>,
    /// Do only the runs whose folder's name, as --list prints it, contains TEXT; may be given several times. What
    /// it leaves out can follow by the same command without it, into the same folder.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Print the runs (with --json: and their complete settings), run none.
    #[arg(long)]
    list: bool,
    /// Override a setting in every run: --set run.epochs=20
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Runs the verb; false when interrupted.
///
/// # Errors
/// The experiment file; a run that fails.
pub fn run(args: &Args, output: OutputOptions) -> anyhow::Result<bool> {
    let console = output.console();
    let sweep = plan(args)?;
    if args.list {
        list(&sweep, &console);
        return Ok(true);
    }
    super::train::catch_signals()?;
    let page = sweep.out.join(PAGE);
    // A page that cannot be written does not stop a sweep.
    let draw = |table: &Table| {
        if let Err(e) = write_atomically(&page, report::sweep::page(table).as_bytes()) {
            console.warn(&format!("report: {e}"));
        }
    };
    let end = sweep.run(&super::train::STOP, &|event| match event {
        Event::Trial {
            number,
            all,
            folder,
        } => console.say(&format!("{number} of {all}: {}", folder.display())),
        Event::Diverged { folder, error } => {
            console.warn(&format!("{}: {error}", folder.display()));
        }
        Event::LeftOut { folder, start } => console.warn(&format!(
            "{}: left out, because {}, which it starts from, has not gone to its end",
            folder.display(),
            start.display()
        )),
        Event::Tabled(table) => draw(table),
        Event::Notice(n) => console.notice(n),
    })?;
    if !end.complete {
        console.say("stopped; the same command goes on where this stopped");
        return Ok(false);
    }
    print(&end, &page, &console);
    let missing = end.missing();
    anyhow::ensure!(
        missing.is_empty(),
        "{} of {} runs did not train to their end: {}",
        missing.len(),
        sweep.chosen().count(),
        names(&missing).join(", ")
    );
    Ok(true)
}

/// The sweep that the arguments describe.
fn plan(args: &Args) -> anyhow::Result<Sweep> {
    let experiment = Experiment::open(&args.file)?
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
    Ok(Sweep::new(experiment, &over, &out, args.device.clone())?.only(&args.only)?)
}

fn names(folders: &[PathBuf]) -> Vec<String> {
    folders.iter().map(|f| f.display().to_string()).collect()
}

/// Prints the runs, as JSON with their complete settings.
fn list(sweep: &Sweep, console: &Console) {
    let folders: Vec<PathBuf> = sweep.chosen().map(|t| t.folder.clone()).collect();
    let settings: Vec<&Config> = sweep.chosen().map(|t| &t.config).collect();
    let runs = names(&folders);
    let value = json!({"title": sweep.experiment.title, "runs": runs, "settings": settings});
    console.result(&runs.join("\n"), &value);
}

/// Prints the table.
fn print(end: &Finished, page: &Path, console: &Console) {
    let (table, page) = (&end.table, page.display().to_string());
    let columns = 0..table.columns.len();
    let of = |r: &Row| {
        let mean: Vec<_> = columns.clone().map(|c| r.mean(c)).collect();
        let deviation: Vec<_> = columns.clone().map(|c| r.deviation(c)).collect();
        json!({"case": r.case, "point": r.point, "runs": r.runs, "mean": mean, "deviation": deviation})
    };
    let rows: Vec<Value> = table.rows.iter().map(of).collect();
    console.result(
        &format!("{}\n{page}", table.markdown()),
        &json!({"columns": table.columns, "rows": rows, "commits": table.commits, "report": page, "failed": names(&end.missing())}),
    );
}
