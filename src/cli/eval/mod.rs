//! `amcl-wgpu eval`.

mod finetune;
pub mod probes;
mod similarity;
pub mod source;

use super::console::Voice;
use super::opened::On;
use amcl_wgpu::data::Split;
use amcl_wgpu::downstream::encoder::Feature;
use amcl_wgpu::downstream::finetune::Setting;
use amcl_wgpu::eval::knn::{self, Bank, Distance, Vote};
use amcl_wgpu::reference::philox::{Purpose, Stream};
use serde_json::json;
use source::Source;

/// Evaluates a run's encoder; results are printed and written beside the run, as eval-PROTOCOL.json; of other data than the run's (--data), as eval-PROTOCOL-DATA.json.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    protocol: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// k nearest neighbours on frozen features.
    Knn {
        #[command(flatten)]
        on: On,
        /// Neighbours; default: the run's.
        #[arg(long)]
        k: Option<usize>,
        /// Temperature of cosine votes; default: the run's.
        #[arg(long)]
        t: Option<f32>,
        /// cosine (votes weigh exp(sim/t)) or euclidean (1/distance).
        #[arg(long, default_value = "cosine", value_parser = distance)]
        distance: Distance,
        /// backbone, or head:N, the embeddings of projection head N (from 1; heads without batch norm).
        #[arg(long, default_value = "backbone")]
        feature: Feature,
    },
    /// A linear classifier on frozen features; with --data, transfer to other data.
    Linear {
        #[command(flatten)]
        on: On,
        #[command(flatten)]
        setting: probes::Setting,
    },
    /// Linear classifiers on few labels a class: several draws, mean and deviation.
    FewLabel {
        #[command(flatten)]
        on: On,
        #[command(flatten)]
        setting: probes::Setting,
        /// Labels of each class.
        #[arg(long, value_delimiter = ',', default_value = "10,20,50,100,200,500")]
        labels: Vec<usize>,
        /// Draws of each.
        #[arg(long, default_value_t = 3)]
        draws: usize,
    },
    /// Encoder and classifier trained together on a share of the labels.
    Finetune {
        #[command(flatten)]
        on: On,
        /// Shares of each class's labels.
        #[arg(long, value_delimiter = ',', default_value = "0.01,0.1,1")]
        fractions: Vec<f64>,
        /// Epochs.
        #[arg(long, default_value_t = 30)]
        epochs: usize,
        /// Learning rate.
        #[arg(long, default_value_t = 0.05)]
        lr: f32,
        /// Images a step.
        #[arg(long, default_value_t = 128)]
        batch_size: usize,
        /// Weight decay.
        #[arg(long, default_value_t = 0.0)]
        weight_decay: f32,
        /// Seed of draws, order and crops.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// How alike positive and negative pairs of test images are, to the backbone and each head.
    Similarity {
        #[command(flatten)]
        on: On,
        /// Pairs of each kind.
        #[arg(long, default_value_t = 500)]
        pairs: usize,
        /// Augmentation families, one result each (the paper's Fig. 1: a,abc,abcde); default: the run's.
        #[arg(long, value_delimiter = ',')]
        families: Vec<String>,
        /// Seed of the pairs.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

fn distance(text: &str) -> Result<Distance, String> {
    match text {
        "cosine" => Ok(Distance::Cosine),
        "euclidean" => Ok(Distance::Euclidean),
        _ => Err(format!("`{text}` is neither cosine nor euclidean")),
    }
}

fn labelled(split: &Split) -> anyhow::Result<()> {
    anyhow::ensure!(
        !split.classes.is_empty() && !split.test.is_empty(),
        "this protocol needs labels and test images: a folder a class, or a labelled data set"
    );
    Ok(())
}

/// Of every class as many samples as `count` says of its size, at most all, drawn from a seed.
fn draw(labels: &[u32], classes: usize, count: impl Fn(usize) -> usize, seed: u64) -> Vec<usize> {
    let mut out = Vec::new();
    for class in 0..classes as u32 {
        let mut ids: Vec<usize> = (0..labels.len()).filter(|i| labels[*i] == class).collect();
        let mut stream = Stream::new(seed, 1, class, Purpose::Split);
        for i in (1..ids.len()).rev() {
            ids.swap(i, stream.below(i + 1));
        }
        let count = count(ids.len());
        out.extend(ids.into_iter().take(count));
    }
    out
}

/// Runs the verb.
///
/// # Errors
/// No such run, no usable checkpoint, data without labels, other data of another size.
pub fn run(args: &Args, voice: Voice) -> anyhow::Result<()> {
    let console = voice.console();
    match &args.protocol {
        What::Knn {
            on,
            k,
            t,
            distance,
            feature,
        } => {
            let (mut encoder, split) = on.open_for(&console, *feature)?;
            labelled(&split)?;
            let r = &encoder.config.run;
            let vote = Vote {
                k: k.unwrap_or(r.knn_k).max(1),
                t: t.unwrap_or(r.knn_t),
                distance: *distance,
            };
            let t = vote.t;
            anyhow::ensure!(t.is_finite() && t > 0.0, "--t is {t}, not positive");
            let mut progress = |done, all| console.progress(done, all, "features");
            let bank = encoder.features(split.bank(), &mut progress)?;
            let queries = encoder.features(&split.test, &mut progress)?;
            let labels = &split.bank().labels;
            let bank = Bank {
                features: &bank,
                labels,
            };
            let found = encoder.neighbours(&queries, bank, split.classes.len(), vote)?;
            let [top1, top5] = [1, 5].map(|n| knn::top(&found, &split.test.labels, n));
            let (n, epoch) = (labels.len(), encoder.epoch);
            let protocol = format!(
                "{}, {feature}, test transform, running statistics",
                vote.describe(n)
            );
            let value = json!({
                "knn_top1": top1, "knn_top5": top5, "k": vote.k.min(n), "t": (f64::from(t) * 1e6).round() / 1e6, "bank": n, "queries": split.test.len(),
            });
            let source = Source {
                on,
                data: &split.description,
                seed: encoder.config.run.seed,
                epoch,
            };
            let value = source.write("knn", &protocol, value)?;
            let text = format!(
                "kNN top-1 {top1:.2} %, top-5 {top5:.2} %: {protocol}, after epoch {epoch}"
            );
            console.result(&text, &value);
            Ok(())
        }
        What::Linear { on, setting } => {
            let (text, value) = probes::linear(on, setting, &console)?;
            console.result(&text, &value);
            Ok(())
        }
        What::FewLabel {
            on,
            setting,
            labels,
            draws,
        } => {
            let (text, value) = probes::few_label(on, setting, labels, *draws, &console)?;
            console.result(&text, &value);
            Ok(())
        }
        What::Finetune {
            on,
            fractions,
            epochs,
            lr,
            batch_size,
            weight_decay,
            seed,
        } => {
            let s = Setting {
                epochs: *epochs,
                batch_size: *batch_size,
                lr: *lr,
                weight_decay: *weight_decay,
                seed: *seed,
            };
            finetune::run(on, fractions, &s, &console)
        }
        What::Similarity {
            on,
            pairs,
            families,
            seed,
        } => similarity::run(on, *pairs, families, *seed, &console),
    }
}
