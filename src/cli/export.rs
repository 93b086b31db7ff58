//! `amcl-wgpu export`.

use super::console::OutputOptions;
use amcl_wgpu::export;
use amcl_wgpu::run::{output, weights};
use serde_json::json;
use std::path::PathBuf;

/// Writes a run's encoder for other programs: safetensors under torchvision's names, config.json, ONNX, a
/// loader for PyTorch.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Run folder.
    run: PathBuf,
    /// Folder to write.
    #[arg(long, short)]
    out: PathBuf,
    /// Replace files that are already there.
    #[arg(long)]
    overwrite: bool,
}

/// Runs the verb.
///
/// # Errors
/// No such run, no usable checkpoint, a folder that cannot be written.
pub fn run(args: &Args, options: OutputOptions) -> anyhow::Result<()> {
    output::free(&export::files(&args.out), args.overwrite)?;
    let console = options.console();
    let found = weights::of_run(&args.run, |w| console.warn(&w))?;
    let files: Vec<String> = export::write(&found, &args.out, args.overwrite)?
        .iter()
        .map(|f| f.display().to_string())
        .collect();
    console.result(
        &format!(
            "the encoder after epoch {}:\n  {}\n\
             in PyTorch: from load_encoder import load; model, transform = load({:?})",
            found.at.epoch,
            files.join("\n  "),
            args.out.display().to_string()
        ),
        &json!({"epoch": found.at.epoch, "files": files}),
    );
    Ok(())
}
