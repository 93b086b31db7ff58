//! `amcl-wgpu loss`: any loss and its gradients on given embeddings.

use super::console::OutputOptions;
use amcl_wgpu::config::Precision;
use amcl_wgpu::device::Choice;
use amcl_wgpu::graph::Executor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::methods::loss::evaluate::Evaluated;
use amcl_wgpu::methods::loss_file::LossFile;
use amcl_wgpu::run::output;
use amcl_wgpu::train::session::open_executor;
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
    /// Compare with the `loss` and `grad.*` stored in the files; fail past the bounds.
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
    let mut good = true;
    for path in &args.inputs {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let what = || path.display().to_string();
        let file = LossFile::parse(&bytes).with_context(what)?;
        let on_cpu = args.device == Choice::Cpu;
        let mut exec: Box<dyn Executor> = match args.precision.as_deref() {
            Some("f64") if !on_cpu => anyhow::bail!("f64 runs on the CPU: use --device cpu"),
            None | Some("f64") if on_cpu => Box::new(HostExecutor::<f64>::new()),
            _ => open_executor(&args.device, &[], Precision::F32, |n| errln!("{n}"))?,
        };
        let e = file.evaluate(exec.as_mut()).with_context(what)?;
        let (mut compared, mut left) = (Vec::new(), Vec::new());
        if !options.json {
            outln!("{}: {} loss {:.9e}", path.display(), file.kind, e.loss);
        }
        if args.verify {
            for (name, error, bound) in file.compare(&e).with_context(what)? {
                let ok = error <= bound;
                good &= ok;
                if !(options.json || options.quiet && ok) {
                    outln!(
                        "  {} {name}: relative error {error:.2e} (bound {bound:.1e})",
                        if ok { "ok  " } else { "FAIL" }
                    );
                }
                compared.push(
                    json!({"name": name, "relative_error": error, "bound": bound, "passed": ok}),
                );
            }
        }
        if args.verify {
            left = file.not_stored(&e);
            if !(left.is_empty() || options.json) {
                outln!("  not stored, not compared: {}", left.join(", "));
            }
        }
        if options.json {
            let line = json!({
                "file": path.display().to_string(), "kind": file.kind, "loss": e.loss, "compared": compared,
                "not_stored": left,
            });
            outln!("{line}");
        }
        if let Some(out) = &args.out {
            output::write(&[(out.clone(), file_of(&e)?)], args.overwrite)?;
        }
    }
    Ok(good)
}
