//! `amcl-wgpu report`.

use super::console::OutputOptions;
use super::source::SourceArgs;
use amcl_wgpu::downstream::encoder::Feature;
use amcl_wgpu::report;
use serde_json::json;
use std::path::PathBuf;

/// Writes a run's report: one HTML page, pictures inside. Several runs are laid side by side on one page: final
/// numbers, the settings that differ, curves over each other.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    on: SourceArgs,
    /// More runs, to lay beside the first. Then the runs' files alone are read.
    #[arg(conflicts_with_all = ["data", "device"])]
    others: Vec<PathBuf>,
    /// With several runs: the file to write; default: comparison.html beside the first run's folder.
    #[arg(long, short, requires = "others")]
    out: Option<PathBuf>,
    /// With several runs: replace a file that is no page of this program.
    #[arg(long, requires = "others")]
    overwrite: bool,
    /// Use the run's files only; do not open the data, compute nothing.
    #[arg(long)]
    curves: bool,
}

/// Runs the verb.
///
/// # Errors
/// No such run; data that is no longer there (then `--curves` still works).
pub fn run(args: &Args, output: OutputOptions) -> anyhow::Result<()> {
    let console = output.console();
    let path = if !args.others.is_empty() {
        let runs = [std::slice::from_ref(&args.on.run), &args.others].concat();
        let out = args.out.clone();
        let out = out.unwrap_or_else(|| report::comparison_of(&runs));
        report::compare(&runs, &out, args.overwrite)?;
        out
    } else if args.curves {
        report::write(&args.on.run, None)?
    } else {
        let (mut encoder, split) = args.on.open(Feature::Backbone, &console)?;
        report::write(&args.on.run, Some((&mut encoder, &split)))?
    };
    let path = path.display().to_string();
    console.result(&path, &json!({ "file": path }));
    Ok(())
}
