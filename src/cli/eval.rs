//! `amcl-wgpu eval`.

use super::console::Voice;
use super::opened::On;
use amcl_wgpu::eval::knn;
use serde_json::json;

/// Evaluates a run's encoder.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(clap::Subcommand, Debug)]
enum Protocol {
    /// k nearest neighbours on backbone features.
    Knn {
        #[command(flatten)]
        on: On,
        /// Neighbours; default: the run's.
        #[arg(long)]
        k: Option<usize>,
        /// Temperature of the votes; default: the run's.
        #[arg(long)]
        t: Option<f32>,
    },
}

/// Runs the verb.
///
/// # Errors
/// No such run, no usable checkpoint, other data of another size.
pub fn run(args: &Args, voice: Voice) -> anyhow::Result<()> {
    let console = voice.console();
    let Protocol::Knn { on, k, t } = &args.protocol;
    let (mut encoder, split) = on.open(&console)?;
    anyhow::ensure!(
        !split.classes.is_empty(),
        "kNN needs labels: a folder a class, or a labelled data set"
    );
    let r = &encoder.config.run;
    let (k, t) = (k.unwrap_or(r.knn_k).max(1), t.unwrap_or(r.knn_t));
    anyhow::ensure!(t.is_finite() && t > 0.0, "--t is {t}, not positive");
    let bank = encoder.features(split.bank())?;
    let queries = encoder.features(&split.test)?;
    let labels = &split.bank().labels;
    let p = knn::predict(
        &queries,
        &bank,
        labels,
        encoder.dim(),
        split.classes.len(),
        k,
        t,
    );
    let v = knn::accuracy(&p, &split.test.labels);
    let (k, n, epoch) = (k.min(labels.len()), labels.len(), encoder.epoch);
    let protocol = format!(
        "k={k} (bank of {n}), t={t}, cosine, backbone features, test transform, running statistics"
    );
    console.result(
        &format!("kNN top-1 {v:.2} %: {protocol}, after epoch {epoch}"),
        &json!({"knn_top1": v, "k": k, "t": (f64::from(t) * 1e6).round() / 1e6, "bank": n, "queries": split.test.len(), "epoch": epoch, "protocol": protocol}),
    );
    Ok(())
}
