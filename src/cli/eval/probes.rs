//! `amcl-wgpu eval linear` and `few-label`: linear classifiers on frozen features.

use super::super::console::Console;
use super::super::opened::On;
use super::source::Source;
use super::{draw, labelled};
use amcl_wgpu::config::Precision;
use amcl_wgpu::data::{Dataset, Split};
use amcl_wgpu::downstream::encoder::Encoder;
use amcl_wgpu::downstream::probe::{Labelled, PROTOCOLS, Protocol, probe};
use amcl_wgpu::train::session::open_executor;
use serde::Deserialize;
use serde_json::{Value, json};

/// The names of the results, in those of their files.
pub const LINEAR: &str = "linear";
/// See [`LINEAR`].
pub const FEW_LABEL: &str = "few-label";

/// A linear probe's settings: a protocol, and what is to differ from it.
#[derive(clap::Args, Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Setting {
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
    /// Momentum.
    #[arg(long)]
    momentum: Option<f32>,
    /// Weight decay.
    #[arg(long)]
    weight_decay: Option<f32>,
    /// Train on features of images cropped and mirrored anew every epoch, as the code bases do; else they are computed once, which is much faster.
    #[arg(long)]
    augment: bool,
    /// Seed of the order of samples and of the draws.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            protocol: "lightly".into(),
            epochs: None,
            lr: None,
            batch_size: None,
            momentum: None,
            weight_decay: None,
            augment: false,
            seed: 0,
        }
    }
}

impl Setting {
    /// The protocol with what differs from it.
    ///
    /// # Errors
    /// An unknown protocol, values without sense.
    pub fn protocol(&self) -> anyhow::Result<Protocol> {
        let Some(p) = PROTOCOLS.iter().find(|p| p.name == self.protocol) else {
            let names: Vec<&str> = PROTOCOLS.iter().map(|p| p.name).collect();
            anyhow::bail!(
                "no protocol `{}`; there are {}",
                self.protocol,
                names.join(", ")
            );
        };
        let batch_size = self.batch_size.unwrap_or(p.batch_size);
        // lightly's rate is for a batch of 256 and grows with it.
        let scale = match p.name {
            "lightly" => batch_size as f32 / p.batch_size as f32,
            _ => 1.0,
        };
        let p = Protocol {
            epochs: self.epochs.unwrap_or(p.epochs),
            lr: self.lr.unwrap_or(p.lr * scale),
            batch_size,
            momentum: self.momentum.unwrap_or(p.momentum),
            augment: self.augment,
            weight_decay: self.weight_decay.unwrap_or(p.weight_decay),
            ..*p
        };
        anyhow::ensure!(
            p.lr.is_finite()
                && p.lr > 0.0
                && p.epochs > 0
                && p.batch_size > 0
                && (0.0..1.0).contains(&p.momentum)
                && p.weight_decay.is_finite(),
            "epochs, batch size and learning rate of a probe must be positive, its momentum from 0 to 1, its weight decay finite"
        );
        Ok(p)
    }
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
    encoder: Encoder,
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
            encoder,
        })
    }

    fn source<'a>(&'a self, on: &'a On, setting: &Setting) -> Source<'a> {
        Source {
            on,
            data: &self.split.description,
            seed: setting.seed,
            epoch: self.epoch,
        }
    }

    fn probe(
        &mut self,
        p: &Protocol,
        ids: Option<&[usize]>,
        seed: u64,
        on: &On,
        console: &Console,
    ) -> anyhow::Result<amcl_wgpu::downstream::probe::Found> {
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
        let mut exec = open_executor(&on.device, &[], Precision::F32, |_| ())?;
        let encoder = &mut self.encoder;
        let mut fresh = |epoch: usize| {
            let all = encoder.cropped(bank, seed, epoch as u32)?;
            let Some(ids) = ids else {
                return Ok(all);
            };
            let d = all.len() / bank.len();
            let rows = ids.iter().flat_map(|i| &all[i * d..(i + 1) * d]);
            Ok(rows.copied().collect())
        };
        Ok(probe(
            p,
            train,
            test,
            self.split.classes.len(),
            seed,
            exec.as_mut(),
            &mut fresh,
            &|done, all| console.progress(done, all, "probe epochs"),
        )?)
    }
}

/// A linear classifier on frozen features: the line for people, and the result, written beside the run.
///
/// # Errors
/// No such run, no labels, the device.
pub fn linear(on: &On, setting: &Setting, console: &Console) -> anyhow::Result<(String, Value)> {
    let p = setting.protocol()?;
    let mut seen = Seen::new(on, console)?;
    let f = seen.probe(&p, None, setting.seed, on, console)?;
    let value = json!({"linear_top1": f.top1, "linear_top5": f.top5, "train_top1": f.train_top1, "loss": f.loss});
    let value = seen
        .source(on, setting)
        .write(LINEAR, &p.describe(), value)?;
    let text = format!(
        "linear top-1 {:.2} %, top-5 {:.2} % (training {:.2} %): {}, encoder after epoch {}",
        f.top1,
        f.top5,
        f.train_top1,
        p.describe(),
        seen.epoch
    );
    Ok((text, value))
}

/// Linear classifiers on few labels a class: the lines for people, and the result, written beside the run.
///
/// # Errors
/// As [`linear`].
pub fn few_label(
    on: &On,
    setting: &Setting,
    labels: &[usize],
    draws: usize,
    console: &Console,
) -> anyhow::Result<(String, Value)> {
    let p = setting.protocol()?;
    anyhow::ensure!(
        draws > 0 && labels.iter().all(|l| *l > 0),
        "--labels and --draws must be positive"
    );
    let mut seen = Seen::new(on, console)?;
    let classes = seen.split.classes.len();
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    for count in labels {
        let mut all = Vec::new();
        for i in 0..draws as u64 {
            let seed = setting.seed + i;
            let ids = draw(&seen.split.bank().labels, classes, |_| *count, seed);
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
    let value =
        seen.source(on, setting)
            .write(FEW_LABEL, &p.describe(), json!({"few_label": rows}))?;
    Ok((text, value))
}
