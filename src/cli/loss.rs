//! `amcl-wgpu loss`: any loss and its gradients on given embeddings.

use super::console::OutputOptions;
use super::verify::{Tally, computers};
use amcl_wgpu::device::Choice;
use amcl_wgpu::methods::loss::evaluate::Evaluated;
use amcl_wgpu::methods::loss_file::LossFile;
use amcl_wgpu::run::output;
use anyhow::Context;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use std::path::PathBuf;

/// Evaluates a loss and its gradients on the embeddings in safetensors files.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Files whose header's `meta` names kind and config.
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// Write `loss` and `grad.*` here (one input only).
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Replace files that are already there.
    #[arg(long)]
    overwrite: bool,
    /// Compare with what is stored in the files, as `verify` does (its older name); takes every kind.
    #[arg(long)]
    verify: bool,
    /// auto, cpu, gpu, gpu:N or part of an adapter's name.
    #[arg(long, default_value = "cpu")]
    device: Choice,
    /// f64: the reference (CPU only, its default); f32: as in training.
    #[arg(long, value_parser = ["f32", "f64"])]
    precision: Option<String>,
}

fn file_of(e: &Evaluated) -> anyhow::Result<Vec<u8>> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> =
        vec![("loss".into(), vec![1], e.loss.to_le_bytes().to_vec())];
    for (name, a) in &e.gradients {
        tensors.push((
            format!("grad.{name}"),
            a.shape.clone(),
            a.values
                .iter()
                .flat_map(|v| (*v as f32).to_le_bytes())
                .collect(),
        ));
    }
    let views: Vec<(&str, TensorView<'_>)> = tensors
        .iter()
        .map(|(n, s, b)| {
            let dtype = if n == "loss" { Dtype::F64 } else { Dtype::F32 };
            TensorView::new(dtype, s.clone(), b).map(|v| (n.as_str(), v))
        })
        .collect::<Result<_, _>>()?;
    Ok(safetensors::serialize(views, None)?)
}

/// Runs the verb; false when a verification failed.
///
/// # Errors
/// Files that are not loss files, losses that do not exist.
pub fn run(args: &Args, options: OutputOptions) -> anyhow::Result<bool> {
    anyhow::ensure!(
        args.out.is_none() || args.inputs.len() == 1,
        "--out takes one input file"
    );
    output::free(args.out.as_slice(), args.overwrite)?;
    let on_cpu = args.device == Choice::Cpu;
    let precision = match args.precision.as_deref() {
        None if on_cpu => "f64",
        Some(given) => given,
        None => "f32",
    };
    let computers = computers(&args.device, Some(precision))?;
    let mut tally = Tally::default();
    for path in &args.inputs {
        if args.verify {
            tally.file(path, &computers, options);
        }
        if args.verify && args.out.is_none() {
            continue;
        }
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let what = || path.display().to_string();
        let file = LossFile::parse(&bytes).with_context(what)?;
        let mut exec = computers[0].executor();
        let e = file.evaluate(exec.as_mut()).with_context(what)?;
        if options.json && !args.verify {
            let line =
                json!({"file": path.display().to_string(), "kind": file.kind, "loss": e.loss});
            outln!("{line}");
        } else if !args.verify {
            outln!("{}: {} loss {:.9e}", path.display(), file.kind, e.loss);
        }
        if let Some(out) = &args.out {
            output::write(&[(out.clone(), file_of(&e)?)], args.overwrite)?;
        }
    }
    Ok(!args.verify || tally.verdict(options))
}
