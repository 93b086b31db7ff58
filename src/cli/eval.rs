//! `amcl-wgpu eval`.

use super::console::{Console, Voice};
use super::opened::On;
use amcl_wgpu::data::{Dataset, Split};
use amcl_wgpu::eval::knn;
use amcl_wgpu::reference::philox::{Purpose, Stream};
use amcl_wgpu::train::checkpoint::write_atomically;
use amcl_wgpu::train::finetune;
use amcl_wgpu::train::probe::{Labelled, PROTOCOLS, Protocol, probe};
use amcl_wgpu::train::session::open_executor;
use amcl_wgpu::train::similarity::similarity;
use amcl_wgpu::train::weights;
use serde_json::{Value, json};
use std::path::Path;

/// Evaluates a run's encoder; results are printed and written beside the run, as eval-*.json.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    protocol: What,
}

/// A linear probe's settings: a protocol, and what is to differ from it.
#[derive(clap::Args, Debug)]
struct Setting {
    /// lightly, solo, moco or amcl.
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
    /// Weight decay.
    #[arg(long)]
    weight_decay: Option<f32>,
    /// Seed of the order of samples and of the draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(clap::Subcommand, Debug)]
enum What {
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
    /// A linear classifier on frozen features; with --data, transfer to other data.
    Linear {
        #[command(flatten)]
        on: On,
        #[command(flatten)]
        setting: Setting,
    },
    /// Linear classifiers on few labels a class: several draws, mean and deviation.
    FewLabel {
        #[command(flatten)]
        on: On,
        #[command(flatten)]
        setting: Setting,
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

impl Setting {
    fn protocol(&self) -> anyhow::Result<Protocol> {
        let Some(p) = PROTOCOLS.iter().find(|p| p.name == self.protocol) else {
            let names: Vec<&str> = PROTOCOLS.iter().map(|p| p.name).collect();
            anyhow::bail!(
                "no protocol `{}`; there are {}",
                self.protocol,
                names.join(", ")
            );
        };
        let p = Protocol {
            epochs: self.epochs.unwrap_or(p.epochs),
            lr: self.lr.unwrap_or(p.lr),
            batch_size: self.batch_size.unwrap_or(p.batch_size),
            weight_decay: self.weight_decay.unwrap_or(p.weight_decay),
            ..*p
        };
        anyhow::ensure!(
            p.lr.is_finite() && p.lr > 0.0 && p.epochs > 0 && p.batch_size > 0,
            "epochs, batch size and learning rate of a probe must be positive"
        );
        Ok(p)
    }
}

fn labelled(split: &Split) -> anyhow::Result<()> {
    anyhow::ensure!(
        !split.classes.is_empty() && !split.test.is_empty(),
        "this protocol needs labels and test images: a folder a class, or a labelled data set"
    );
    Ok(())
}

/// Prints a result and writes it beside the run.
fn finish(
    console: &Console,
    run: &Path,
    name: &str,
    text: &str,
    value: &Value,
) -> anyhow::Result<()> {
    write_atomically(
        &run.join(format!("eval-{name}.json")),
        format!("{value:#}\n").as_bytes(),
    )?;
    console.result(text, value);
    Ok(())
}

/// At most `count` samples of every class, drawn from a seed.
fn draw(labels: &[u32], classes: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut out = Vec::new();
    for class in 0..classes as u32 {
        let mut ids: Vec<usize> = (0..labels.len()).filter(|i| labels[*i] == class).collect();
        let mut stream = Stream::new(seed, 1, class, Purpose::Split);
        for i in (1..ids.len()).rev() {
            ids.swap(i, stream.below(i + 1));
        }
        out.extend(ids.into_iter().take(count));
    }
    out
}

fn mean_and_deviation(v: &[f64]) -> (f64, f64) {
    let mean = v.iter().sum::<f64>() / v.len() as f64;
    let square = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    (mean, (square / (v.len().max(2) - 1) as f64).sqrt())
}

/// Features of bank and test images.
struct Seen {
    bank: Vec<f32>,
    test: Vec<f32>,
    split: Split,
    dim: usize,
    epoch: usize,
}

impl Seen {
    fn new(on: &On, console: &Console) -> anyhow::Result<Self> {
        let (mut encoder, split) = on.open(console)?;
        labelled(&split)?;
        let mut progress = |done, all| console.progress(done, all, "features");
        Ok(Self {
            bank: encoder.features(split.bank(), &mut progress)?,
            test: encoder.features(&split.test, &mut progress)?,
            dim: encoder.dim(),
            epoch: encoder.epoch,
            split,
        })
    }

    fn probe(
        &self,
        p: &Protocol,
        ids: Option<&[usize]>,
        seed: u64,
        on: &On,
        console: &Console,
    ) -> anyhow::Result<amcl_wgpu::train::probe::Found> {
        let bank: &Dataset = self.split.bank();
        let (mut x, mut y) = (Vec::new(), Vec::new());
        let train = match ids {
            None => Labelled {
                features: &self.bank,
                labels: &bank.labels,
            },
            Some(ids) => {
                for i in ids {
                    x.extend_from_slice(&self.bank[i * self.dim..(i + 1) * self.dim]);
                    y.push(bank.labels[*i]);
                }
                Labelled {
                    features: &x,
                    labels: &y,
                }
            }
        };
        let test = Labelled {
            features: &self.test,
            labels: &self.split.test.labels,
        };
        let mut exec = open_executor(&on.device, &[], |_| ())?;
        Ok(probe(
            p,
            train,
            test,
            self.split.classes.len(),
            seed,
            exec.as_mut(),
            &|done, all| console.progress(done, all, "probe epochs"),
        )?)
    }
}

/// Runs the verb.
///
/// # Errors
/// No such run, no usable checkpoint, data without labels, other data of another size.
pub fn run(args: &Args, voice: Voice) -> anyhow::Result<()> {
    let console = voice.console();
    match &args.protocol {
        What::Knn { on, k, t } => {
            let (mut encoder, split) = on.open(&console)?;
            labelled(&split)?;
            let r = &encoder.config.run;
            let (k, t) = (k.unwrap_or(r.knn_k).max(1), t.unwrap_or(r.knn_t));
            anyhow::ensure!(t.is_finite() && t > 0.0, "--t is {t}, not positive");
            let mut progress = |done, all| console.progress(done, all, "features");
            let bank = encoder.features(split.bank(), &mut progress)?;
            let queries = encoder.features(&split.test, &mut progress)?;
            let labels = &split.bank().labels;
            let (d, classes) = (encoder.dim(), split.classes.len());
            let p = knn::predict(&queries, &bank, labels, d, classes, k, t);
            let v = knn::accuracy(&p, &split.test.labels);
            let (k, n, epoch) = (k.min(labels.len()), labels.len(), encoder.epoch);
            let protocol = format!(
                "k={k} (bank of {n}), t={t}, cosine, backbone features, test transform, running statistics"
            );
            let value = json!({
                "knn_top1": v, "k": k, "t": (f64::from(t) * 1e6).round() / 1e6, "bank": n, "queries": split.test.len(), "epoch": epoch, "protocol": protocol,
            });
            let text = format!("kNN top-1 {v:.2} %: {protocol}, after epoch {epoch}");
            finish(&console, &on.run, "knn", &text, &value)
        }
        What::Linear { on, setting } => {
            let p = setting.protocol()?;
            let seen = Seen::new(on, &console)?;
            let f = seen.probe(&p, None, setting.seed, on, &console)?;
            let (data, epoch) = (&seen.split.description, seen.epoch);
            let value = json!({
                "linear_top1": f.top1, "linear_top5": f.top5, "train_top1": f.train_top1, "loss": f.loss, "epoch": epoch, "protocol": p.describe(), "data": data,
                "seed": setting.seed,
            });
            let text = format!(
                "linear top-1 {:.2} %, top-5 {:.2} % (training {:.2} %): {}, encoder after epoch {epoch}",
                f.top1,
                f.top5,
                f.train_top1,
                p.describe()
            );
            finish(&console, &on.run, "linear", &text, &value)
        }
        What::FewLabel {
            on,
            setting,
            labels,
            draws,
        } => few_label(on, setting, labels, *draws, &console),
        What::Finetune {
            on,
            fractions,
            epochs,
            lr,
            batch_size,
            weight_decay,
            seed,
        } => {
            let s = finetune::Setting {
                epochs: *epochs,
                batch_size: *batch_size,
                lr: *lr,
                weight_decay: *weight_decay,
                seed: *seed,
            };
            finetuned(on, fractions, &s, &console)
        }
        What::Similarity {
            on,
            pairs,
            families,
            seed,
        } => similarities(on, *pairs, families, *seed, &console),
    }
}

fn few_label(
    on: &On,
    setting: &Setting,
    labels: &[usize],
    draws: usize,
    console: &Console,
) -> anyhow::Result<()> {
    let p = setting.protocol()?;
    anyhow::ensure!(
        draws > 0 && labels.iter().all(|l| *l > 0),
        "--labels and --draws must be positive"
    );
    let seen = Seen::new(on, console)?;
    let classes = seen.split.classes.len();
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    for count in labels {
        let mut all = Vec::new();
        for i in 0..draws as u64 {
            let seed = setting.seed + i;
            let ids = draw(&seen.split.bank().labels, classes, *count, seed);
            all.push(seen.probe(&p, Some(&ids), seed, on, console)?.top1);
        }
        let (mean, deviation) = mean_and_deviation(&all);
        lines.push(format!(
            "{count:5} labels a class: {mean:.2} +- {deviation:.2} %"
        ));
        rows.push(json!({"labels": count, "top1": mean, "deviation": deviation, "draws": all}));
    }
    let text = format!(
        "{}\n{draws} draws each; {}, encoder after epoch {}",
        lines.join("\n"),
        p.describe(),
        seen.epoch
    );
    let value = json!({"few_label": rows, "protocol": p.describe(), "epoch": seen.epoch});
    finish(console, &on.run, "few-label", &text, &value)
}

fn finetuned(
    on: &On,
    fractions: &[f64],
    s: &finetune::Setting,
    console: &Console,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        s.lr.is_finite() && s.lr > 0.0 && fractions.iter().all(|f| *f > 0.0 && *f <= 1.0),
        "--lr must be positive, --fractions from 0 to 1"
    );
    let found = weights::of_run(&on.run, |w| console.warn(&w))?;
    let mut config = found.config.clone();
    config.data.path = on.data.clone().unwrap_or(config.data.path);
    let split = config.open_data(&|done, all| console.progress(done, all, "decoding images"))?;
    labelled(&split)?;
    let (bank, classes) = (split.bank(), split.classes.len());
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    for fraction in fractions {
        let each = (bank.len() as f64 * fraction / classes as f64)
            .round()
            .max(1.0) as usize;
        let ids = draw(&bank.labels, classes, each, s.seed);
        let mut exec = open_executor(&on.device, &[], |_| ())?;
        let top1 = finetune::finetune(
            &config,
            &found.weights,
            s,
            (bank, &ids),
            &split.test,
            classes,
            exec.as_mut(),
            &|done, all| console.progress(done, all, "epochs of fine-tuning"),
        )?;
        lines.push(format!(
            "{:5.1} % of the labels ({} images): top-1 {top1:.2} %",
            100.0 * fraction,
            ids.len()
        ));
        rows.push(json!({"fraction": fraction, "images": ids.len(), "top1": top1}));
    }
    let text = format!(
        "{}\n{}, encoder after epoch {}",
        lines.join("\n"),
        s.describe(),
        found.at.epoch
    );
    let value = json!({"finetune": rows, "protocol": s.describe(), "seed": s.seed, "epoch": found.at.epoch});
    finish(console, &on.run, "finetune", &text, &value)
}

fn similarities(
    on: &On,
    pairs: usize,
    families: &[String],
    seed: u64,
    console: &Console,
) -> anyhow::Result<()> {
    let found = weights::of_run(&on.run, |w| console.warn(&w))?;
    let mut config = found.config.clone();
    config.data.path = on.data.clone().unwrap_or(config.data.path);
    let split = config.open_data(&|done, all| console.progress(done, all, "decoding images"))?;
    let own = vec![config.augment.families.clone()];
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    for letters in if families.is_empty() { &own } else { families } {
        let mut policy = config.augment.clone();
        policy.families = letters.clone();
        policy.validate().map_err(anyhow::Error::msg)?;
        let mut exec = open_executor(&on.device, &[], |_| ())?;
        let scores = similarity(&found, &split.test, &policy, pairs, seed, exec.as_mut())?;
        lines.push(format!("augmentation {letters}"));
        for s in &scores {
            lines.push(format!(
                "  {:32} positive {:6.3}  negative {:6.3}  overlap {:5.1} %",
                s.of, s.positive, s.negative, s.overlap
            ));
        }
        rows.push(json!({"families": letters, "scores": scores}));
    }
    let n = pairs.min(split.test.len());
    let protocol = format!(
        "{n} positive pairs (two views of a test image) and {n} negative pairs, seed {seed}; cosines; bins of 0.06 from -0.2; scaled: mean over heads of s t / tau, t the head's mean temperature"
    );
    let text = format!("{}\n{protocol}", lines.join("\n"));
    let value = json!({"similarity": rows, "protocol": protocol, "epoch": found.at.epoch});
    finish(console, &on.run, "similarity", &text, &value)
}
