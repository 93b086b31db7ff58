//! `amcl-wgpu eval`: the arguments of each protocol, and its result in words.

use super::console::OutputOptions;
use super::source::SourceArgs;
use amcl_wgpu::downstream::encoder::Feature;
use amcl_wgpu::downstream::probe::Found;
use amcl_wgpu::downstream::protocols::{
    self, Amount, FewLabelResult, FinetuneChoice, FinetuneResult, KnnResult, KnnSettings,
    LinearResult, PairsResult, ProbeSettings,
};
use amcl_wgpu::eval::knn::Distance;
use amcl_wgpu::report::pairs;
use amcl_wgpu::run::checkpoint::write_atomically;
use anyhow::Context;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Evaluates a run's encoder. The result is printed, and written into the run's folder as eval-PROTOCOL.json;
/// on other data (--data) as eval-PROTOCOL-DATA.json.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// k nearest neighbours on frozen features.
    Knn {
        #[command(flatten)]
        on: SourceArgs,
        /// Neighbours; default: the run's.
        #[arg(long)]
        k: Option<usize>,
        /// Temperature of cosine votes; default: the run's.
        #[arg(long)]
        t: Option<f32>,
        /// cosine (votes weigh exp(sim/t)) or euclidean (1/distance).
        #[arg(long, default_value = "cosine", value_parser = distance)]
        distance: Distance,
        #[command(flatten)]
        seen: FeatureArgs,
    },
    /// A linear classifier on frozen features; with --data, transfer to other data.
    Linear {
        #[command(flatten)]
        on: SourceArgs,
        #[command(flatten)]
        probe: ProbeArgs,
        #[command(flatten)]
        seen: FeatureArgs,
    },
    /// Linear classifiers on few labels a class: several draws, mean and deviation.
    FewLabel {
        #[command(flatten)]
        on: SourceArgs,
        #[command(flatten)]
        probe: ProbeArgs,
        #[command(flatten)]
        seen: FeatureArgs,
        /// Labels of each class.
        #[arg(long, value_delimiter = ',', default_value = "10,20,50,100,200,500")]
        labels: Vec<usize>,
        /// Shares of each class's labels, in place of --labels: 0.01 is the 1 % protocol.
        #[arg(long, value_delimiter = ',', conflicts_with = "labels")]
        fractions: Vec<f64>,
        /// Draws of each.
        #[arg(long, default_value_t = 3)]
        draws: usize,
    },
    /// Encoder and classifier trained together on a share of the labels.
    Finetune {
        #[command(flatten)]
        on: SourceArgs,
        /// Shares of each class's labels.
        #[arg(long, value_delimiter = ',', default_value = "0.01,0.1,1")]
        fractions: Vec<f64>,
        #[command(flatten)]
        how: FinetuneArgs,
    },
    /// How alike positive and negative pairs of test images are, to the backbone and each head.
    Similarity {
        #[command(flatten)]
        on: SourceArgs,
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

/// The features that are looked at.
#[derive(clap::Args, Debug)]
struct FeatureArgs {
    /// pooled; of a Vision Transformer token (the class token) and mean (the mean over the patches), both behind the
    /// last norm; head:N, the embeddings of projection head N (from 1; heads without batch norm). Default: pooled, and
    /// of a Vision Transformer token,mean.
    #[arg(long = "feature", value_delimiter = ',', value_name = "FEATURE")]
    features: Vec<Feature>,
}

/// A linear probe's protocol, and what is to differ from it.
#[derive(clap::Args, Debug)]
struct ProbeArgs {
    /// lightly, solo, moco, amcl; mae (batch norm without scale and shift, LARS), mae-small (its rate for some thousand
    /// images); lgp (logistic regression to convergence, --weight-decay is its L2 penalty).
    #[arg(long, default_value = "lightly")]
    protocol: String,
    /// Epochs.
    #[arg(long)]
    epochs: Option<usize>,
    /// Learning rate.
    #[arg(long)]
    lr: Option<f32>,
    /// Samples a step.
    #[arg(long)]
    batch_size: Option<usize>,
    /// Momentum.
    #[arg(long)]
    momentum: Option<f32>,
    /// Weight decay.
    #[arg(long)]
    weight_decay: Option<f32>,
    /// Train on features of images cropped and mirrored anew every epoch, as the code bases do. Else features
    /// are computed once, which is much faster.
    #[arg(long)]
    augment: bool,
    /// Seed of the order of samples and of the draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl ProbeArgs {
    fn settings(&self) -> ProbeSettings {
        ProbeSettings {
            protocol: self.protocol.clone(),
            epochs: self.epochs,
            lr: self.lr,
            batch_size: self.batch_size,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            augment: self.augment,
            seed: self.seed,
        }
    }
}

/// A recipe of fine-tuning, and what is to differ from it.
#[derive(clap::Args, Debug)]
struct FinetuneArgs {
    /// plain (SGD, crops and mirroring), or mae (Vision Transformers: AdamW with layer decay, drop path, mixup,
    /// CutMix, label smoothing, random erasing, the mean over patches).
    #[arg(long, default_value = "plain")]
    recipe: String,
    /// Epochs; default: the recipe's (plain 30).
    #[arg(long)]
    epochs: Option<u64>,
    /// Learning rate; default: the recipe's (plain 0.05).
    #[arg(long)]
    lr: Option<f64>,
    /// Images a step; default: the recipe's (plain 128).
    #[arg(long)]
    batch_size: Option<u64>,
    /// Weight decay; default: the recipe's (plain 0).
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Seed of draws, order and crops; default 0.
    #[arg(long)]
    seed: Option<u64>,
    /// Any setting of fine-tuning: --set mixup=0.8; `finetune` on the page of settings lists them.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl FinetuneArgs {
    fn choice(&self) -> anyhow::Result<FinetuneChoice> {
        // What is no whole number of TOML's is out of every range as a fraction too.
        let whole = |n: u64| i64::try_from(n).map_or(toml::Value::Float(n as f64), Into::into);
        let flags = [
            ("epochs", self.epochs.map(whole)),
            ("lr", self.lr.map(Into::into)),
            ("batch_size", self.batch_size.map(whole)),
            ("weight_decay", self.weight_decay.map(Into::into)),
            ("seed", self.seed.map(whole)),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(key, v)| Some((key.to_string(), v?)));
        let mut set: toml::Table = flags.collect();
        for given in &self.set {
            let (key, value) = given
                .split_once('=')
                .with_context(|| format!("--set {given}: it is not key=value"))?;
            let key = key.trim().trim_start_matches("finetune.");
            let value = format!("v = {value}").parse::<toml::Table>().ok();
            let value = value.and_then(|mut t| t.remove("v"));
            let text = given[given.find('=').map_or(0, |i| i + 1)..].to_string();
            set.insert(key.into(), value.unwrap_or(toml::Value::String(text)));
        }
        Ok(FinetuneChoice {
            recipe: self.recipe.clone(),
            set,
        })
    }
}

fn distance(text: &str) -> Result<Distance, String> {
    match text {
        "cosine" => Ok(Distance::Cosine),
        "euclidean" => Ok(Distance::Euclidean),
        _ => Err(format!("`{text}` is neither cosine nor euclidean")),
    }
}

/// Runs the verb.
///
/// # Errors
/// No such run, no usable checkpoint, data without labels, other data of another size.
pub fn run(args: &Args, output: OutputOptions) -> anyhow::Result<()> {
    let console = output.console();
    let tell = console.teller();
    let (text, record) = match &args.command {
        Command::Knn {
            on,
            k,
            t,
            distance,
            seen,
        } => {
            let settings = KnnSettings {
                k: *k,
                t: *t,
                distance: *distance,
                features: seen.features.clone(),
            };
            let r = protocols::knn(&on.source(), &settings, &tell)?;
            (of_knn(&r), r.record)
        }
        Command::Linear { on, probe, seen } => {
            let (source, settings) = (on.source(), probe.settings());
            let r = protocols::linear(&source, &settings, &seen.features, &tell)?;
            (of_linear(&r), r.record)
        }
        Command::FewLabel {
            on,
            probe,
            seen,
            labels,
            fractions,
            draws,
        } => {
            let (source, settings) = (on.source(), probe.settings());
            let amounts: Vec<Amount> = match fractions.is_empty() {
                true => labels.iter().copied().map(Amount::Labels).collect(),
                false => fractions.iter().copied().map(Amount::Share).collect(),
            };
            let seen = &seen.features;
            let r = protocols::few_label(&source, &settings, &amounts, *draws, seen, &tell)?;
            (of_few_label(&r, *draws), r.record)
        }
        Command::Finetune { on, fractions, how } => {
            let r = protocols::finetune_shares(&on.source(), fractions, &how.choice()?, &tell)?;
            (of_finetuning(&r), r.record)
        }
        Command::Similarity {
            on,
            pairs,
            families,
            seed,
        } => {
            let mut r = protocols::similarity(&on.source(), *pairs, families, *seed, &tell)?;
            let page = draw(&on.run, &r.file, &r.record)?.display().to_string();
            let text = format!("{}\ndrawn in {page}", of_pairs(&r));
            r.record["figure"] = page.into();
            (text, r.record)
        }
    };
    console.result(&text, &record);
    Ok(())
}

/// A line for each feature where there are several, then the protocol; with one, both in one line.
fn by_feature(each: &[(Feature, String)], protocol: &str) -> String {
    match each {
        [(_, one)] => format!("{one}: {protocol}"),
        _ => {
            let lines = each
                .iter()
                .map(|(feature, found)| format!("{feature}: {found}\n"));
            lines.collect::<String>() + protocol
        }
    }
}

fn of_knn(r: &KnnResult) -> String {
    let of = |[top1, top5]: &[f64; 2]| format!("kNN top-1 {top1:.2} %, top-5 {top5:.2} %");
    let each: Vec<(Feature, String)> = r.each.iter().map(|(f, tops)| (*f, of(tops))).collect();
    by_feature(&each, &format!("{}, after epoch {}", r.protocol, r.epoch))
}

fn of_linear(r: &LinearResult) -> String {
    let of = |f: &Found| {
        format!(
            "linear top-1 {:.2} %, top-5 {:.2} % (training {:.2} %)",
            f.top1, f.top5, f.train_top1
        )
    };
    let each: Vec<(Feature, String)> = r.each.iter().map(|(f, found)| (*f, of(found))).collect();
    by_feature(
        &each,
        &format!("{}, encoder after epoch {}", r.protocol, r.epoch),
    )
}

fn of_few_label(r: &FewLabelResult, draws: usize) -> String {
    let mut text = String::new();
    for (feature, rows) in &r.each {
        if r.each.len() > 1 {
            text += &format!("{feature}\n");
        }
        for row in rows {
            let amount = match row.amount {
                Amount::Labels(labels) => format!("{labels:5} labels a class"),
                Amount::Share(share) => {
                    format!(
                        "{:5.1} % of the labels ({} images)",
                        100.0 * share,
                        row.images
                    )
                }
            };
            text += &format!("{amount}: {:.2} +- {:.2} %\n", row.mean, row.deviation);
        }
    }
    text + &format!(
        "{draws} draws each; {}, encoder after epoch {}",
        r.protocol, r.epoch
    )
}

fn of_finetuning(r: &FinetuneResult) -> String {
    let mut text = String::new();
    for row in &r.rows {
        text += &format!(
            "{:5.1} % of the labels ({} images): top-1 {:.2} %\n",
            100.0 * row.fraction,
            row.images,
            row.top1
        );
    }
    text + &format!("{}, encoder after epoch {}", r.protocol, r.epoch)
}

fn of_pairs(r: &PairsResult) -> String {
    let mut lines = Vec::new();
    for (letters, found) in &r.sets {
        lines.push(format!("augmentation {letters}"));
        lines.extend(found.scores.iter().map(|s| {
            format!(
                "  {:34} positive {:6.3}  negative {:6.3}  overlap {:5.1} %",
                s.of, s.positive, s.negative, s.overlap
            )
        }));
    }
    lines.push(r.protocol.clone());
    for (what, key) in [
        ("", "short"),
        ("merged: ", "merged"),
        ("temperature-scaled: ", "scaled"),
    ] {
        lines.extend(r.record[key].as_str().map(|t| format!("{what}{t}")));
    }
    lines.join("\n")
}

/// Draws a result of the run beside the file that holds it, under that file's name.
fn draw(run: &Path, file: &Path, result: &Value) -> anyhow::Result<PathBuf> {
    let whole = std::fs::canonicalize(run)?;
    let name = whole.file_name().unwrap_or_default().to_string_lossy();
    let page = file.with_extension("html");
    write_atomically(&page, pairs::page(&name, result).as_bytes())?;
    Ok(page)
}
