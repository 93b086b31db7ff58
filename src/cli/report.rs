//! `amcl-wgpu report`.

use super::console::OutputOptions;
use super::source::SourceArgs;
use amcl_wgpu::report;
use serde_json::json;

/// Writes a run's report: one HTML page, pictures inside.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    on: SourceArgs,
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
    let path = if args.curves {
        report::write(&args.on.run, None)?
    } else {
        let (mut encoder, split) = args.on.open(&console)?;
        report::write(&args.on.run, Some((&mut encoder, &split)))?
    };
    let path = path.display().to_string();
    console.result(&path, &json!({ "file": path }));
    Ok(())
}
