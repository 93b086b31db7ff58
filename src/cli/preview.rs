//! `amcl-wgpu preview`.

use super::console::OutputOptions;
use super::number::within;
use amcl_wgpu::config::Config;
use amcl_wgpu::config::Precision;
use amcl_wgpu::device::Choice;
use amcl_wgpu::eval::sheet::sheet;
use amcl_wgpu::run::output;
use amcl_wgpu::settings::between;
use amcl_wgpu::train::session::open_executor;
use anyhow::Context;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Writes a PNG sheet of images and their two augmented views, as they reach the encoder, and prints the
/// parameters of each view.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Configuration file (TOML).
    #[arg(long, conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// A built-in configuration; `amcl-wgpu presets` lists them.
    #[arg(long, default_value = "quickstart")]
    preset: String,
    /// Data, as `train` takes it.
    #[arg(long)]
    data: Option<String>,
    /// PNG file to write.
    #[arg(long, short)]
    out: PathBuf,
    /// Replace files that are already there.
    #[arg(long)]
    overwrite: bool,
    /// Images on the sheet.
    #[arg(long, default_value_t = 8, value_parser = within::<usize>(between(1.0, 256.0)))]
    count: usize,
    /// Epoch whose views are shown.
    #[arg(long, default_value_t = 0)]
    epoch: u32,
    /// auto, cpu, gpu, gpu:N or part of an adapter's name.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Override any setting: --set augment.families=abcde
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Runs the verb.
///
/// # Errors
/// Configuration, data, device, a file that cannot be written.
pub fn run(args: &Args, options: OutputOptions) -> anyhow::Result<()> {
    output::free(&[&args.out], args.overwrite)?;
    let console = options.console();
    let text = match &args.config {
        Some(p) => {
            std::fs::read_to_string(p).with_context(|| format!("cannot read {}", p.display()))?
        }
        None => Config::preset(&args.preset)?.to_string(),
    };
    let mut over = Vec::new();
    if let Some(d) = &args.data {
        over.push(format!("data.path={}", toml::Value::String(d.clone())));
    }
    over.extend(args.set.iter().cloned());
    let config = Config::parse(&text, &over)?;
    let split = config.open_data(&|done, all| console.progress(done, all, "decoding images"))?;
    console.say(&format!("data: {}", split.description));
    for w in &split.warnings {
        console.warn(&format!("data: {w}"));
    }
    let mut exec = open_executor(&args.device, &[], Precision::F32, |l| console.say(&l))?;
    let of = (config.model.image_size, config.run.seed, args.epoch);
    let s = sheet(&config.augment, of, &split.train, args.count, exec.as_mut())?;
    output::write(&[(args.out.clone(), s.png()?)], args.overwrite)?;
    let lines: Vec<String> = s
        .rows
        .iter()
        .enumerate()
        .map(|(i, [name, a, b])| {
            format!(
                "row {} ({name})\n  first view:  {a}\n  second view: {b}",
                i + 1
            )
        })
        .collect();
    let path = args.out.display().to_string();
    let row = |[n, a, b]: &[String; 3]| json!({"name": n, "first": a, "second": b});
    let rows: Vec<Value> = s.rows.iter().map(row).collect();
    console.result(
        &format!(
            "{}\n{path}: original, first and second view of each",
            lines.join("\n")
        ),
        &json!({"file": path, "rows": rows}),
    );
    Ok(())
}
