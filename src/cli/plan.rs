//! `amcl-wgpu plan`.

use super::console::OutputOptions;
use super::train::work;
use amcl_wgpu::config::{Config, method};
use amcl_wgpu::device::Limits;
use amcl_wgpu::graph::portable::Portable;
use amcl_wgpu::run::output;
use amcl_wgpu::train::session::Session;
use anyhow::Context;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Plans a run for an adapter that need not be there: memory, dispatches, kernels, from limits alone. Writes the
/// recording as a file, and compares two of them.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Adapter to plan for: web (WebGPU's defaults), intel, apple, amd or nvidia.
    #[arg(long, default_value = "web", value_parser = Limits::of)]
    limits: Limits,
    /// Configuration file (TOML).
    #[arg(long, conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// A built-in configuration; `amcl-wgpu presets` lists them.
    #[arg(long, default_value = "quickstart")]
    preset: String,
    /// Data, as `train` takes it.
    #[arg(long)]
    data: Option<String>,
    /// Override any setting: --set optim.batch_size=64
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// File to write the recording to (JSON): shaders, dispatches, buffers.
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Replace a file that is already there.
    #[arg(long)]
    overwrite: bool,
    /// Compare two recordings instead; the exit code is 1 where they differ.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["config", "data", "set", "out"])]
    diff: Option<Vec<PathBuf>>,
}

/// Runs the verb; false where compared recordings differ.
///
/// # Errors
/// Configuration, data; a run that does not fit the limits; a file that is no plan or cannot be written.
pub fn run(args: &Args, options: OutputOptions) -> anyhow::Result<bool> {
    let console = options.console();
    if let Some([a, b]) = args.diff.as_deref() {
        let lines = read(a)?.diff(&read(b)?);
        let text = match lines.is_empty() {
            true => "both do the same work in the same memory".to_string(),
            false => lines.join("\n"),
        };
        console.result(&text, &json!({ "differences": lines }));
        return Ok(lines.is_empty());
    }
    if let Some(out) = &args.out {
        output::free(&[out], args.overwrite)?;
    }
    let text = match &args.config {
        Some(p) => {
            std::fs::read_to_string(p).with_context(|| format!("cannot read {}", p.display()))?
        }
        None => Config::preset(&args.preset)?.to_string(),
    };
    let path = args.data.clone().map(toml::Value::String);
    let mut over: Vec<String> = path.iter().map(|d| format!("data.path={d}")).collect();
    over.extend(args.set.iter().cloned());
    let config = Config::parse(&text, &over)?;
    let method = method::method(&config)?;
    method::declare_method(&config, method.as_ref())?;
    let split = config.open_data(&|done, all| console.progress(done, all, "decoding images"))?;
    console.say(&format!("data: {}", split.description));
    for w in &split.warnings {
        console.warn(&format!("data: {w}"));
    }
    let measured = split.unmeasured().is_none().then_some(&split);
    let of = (&split.train, measured);
    let (planned, plan) = Session::recorded(&config, method.as_ref(), &args.limits, of)?;
    let mut lines = vec![
        format!("model: {} parameters", planned.parameters),
        planned.memory.to_string(),
    ];
    for p in &plan.programs {
        lines.push(format!("{}: {} dispatches", p.name, p.dispatches.len()));
    }
    lines.push(format!("{} kernels in all", plan.shaders.len()));
    lines.push(work(&planned));
    if let Some(out) = &args.out {
        let bytes = serde_json::to_vec(&plan)?;
        output::write(&[(out.clone(), bytes)], args.overwrite)?;
        lines.push(format!("the recording: {}", out.display()));
    }
    let programs: Vec<_> = plan
        .programs
        .iter()
        .map(|p| json!({"name": p.name, "dispatches": p.dispatches.len()}))
        .collect();
    console.result(
        &lines.join("\n"),
        &json!({"planned": planned, "programs": programs, "kernels": plan.shaders.len()}),
    );
    Ok(true)
}

fn read(path: &Path) -> anyhow::Result<Portable> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Portable::parse(&text).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))
}
