//! `amcl-wgpu preview`.

use super::console::{Console, OutputOptions};
use super::number::within;
use amcl_wgpu::config::Config;
use amcl_wgpu::config::Precision;
use amcl_wgpu::config::method;
use amcl_wgpu::device::Choice;
use amcl_wgpu::eval::sheet::sheet;
use amcl_wgpu::run::folder::CONFIG;
use amcl_wgpu::run::output;
use amcl_wgpu::run::weights::of_run;
use amcl_wgpu::settings::between;
use amcl_wgpu::train::reconstruction::{Pictures, pictures};
use amcl_wgpu::train::session::open_executor;
use anyhow::Context;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Writes a PNG sheet of images and their two augmented views, as they reach the encoder, and prints the
/// parameters of each view. Of a method that hides patches: what the encoder sees of the first view, with --run what
/// the network makes of it, and the view.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Configuration file (TOML).
    #[arg(long, conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// A built-in configuration; `amcl-wgpu presets` lists them.
    #[arg(long, default_value = "quickstart")]
    preset: String,
    /// A run: its configuration and, for what a network makes of hidden patches, its weights.
    #[arg(long, conflicts_with_all = ["config", "preset"])]
    run: Option<PathBuf>,
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
/// Configuration, data, device, a file that cannot be written; a run without a usable checkpoint.
pub fn run(args: &Args, options: OutputOptions) -> anyhow::Result<()> {
    output::free(&[&args.out], args.overwrite)?;
    let console = options.console();
    let text = match (&args.run, &args.config) {
        (Some(run), _) => read(&run.join(CONFIG))?,
        (_, Some(p)) => read(p)?,
        _ => Config::preset(&args.preset)?.to_string(),
    };
    let mut over = Vec::new();
    if let Some(d) = &args.data {
        over.push(format!("data.path={}", toml::Value::String(d.clone())));
    }
    over.extend(args.set.iter().cloned());
    let config = Config::parse(&text, &over)?;
    let method = method::method(&config)?;
    let weights = match &args.run {
        Some(run) if method.reconstructs().is_some() => {
            Some(of_run(run, |w| console.warn(&w))?.weights)
        }
        _ => None,
    };
    let split = config.open_data(&|done, all| console.progress(done, all, "decoding images"))?;
    console.say(&format!("data: {}", split.description));
    for w in &split.warnings {
        console.warn(&format!("data: {w}"));
    }
    let mut exec = open_executor(&args.device, &[], Precision::F32, |l| console.say(&l))?;
    let path = args.out.display().to_string();
    let masks = pictures(
        &config,
        method.as_ref(),
        (weights.as_ref(), args.epoch),
        (&split.train, args.count),
        exec.as_mut(),
    )?;
    if let Some(p) = masks {
        output::write(&[(args.out.clone(), p.png()?)], args.overwrite)?;
        return masked(&p, &path, &console);
    }
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

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Tells what a sheet of hidden patches shows.
fn masked(p: &Pictures, path: &str, console: &Console) -> anyhow::Result<()> {
    let [seen, made, view] = Pictures::COLUMNS;
    let (columns, what) = match p.error {
        Some(error) => (
            vec![seen, made, view],
            format!("; hidden pixels are off by {error:.3} of 1 (root mean square)"),
        ),
        None => (
            vec![seen, view],
            "; with --run also what a network makes of it".into(),
        ),
    };
    let (all, visible) = p.patches;
    let rows: Vec<Value> = p.names.iter().map(|n| json!({"name": n})).collect();
    console.result(
        &format!(
            "{path}: {} of each; the encoder sees {visible} of {all} patches{what}",
            columns.join(", ")
        ),
        &json!({
            "file": path, "rows": rows, "columns": columns, "patches": all, "visible": visible, "error": p.error,
        }),
    );
    Ok(())
}
