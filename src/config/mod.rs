//! The configuration: TOML sections, presets, overrides; unknown keys are rejected with the nearest known one.

pub mod method;
pub mod presets;

mod error;

pub use error::{ConfigError, Result};

use crate::data::augment::Policy;
use crate::methods::loss::{Amcl, Path};
use presets::PRESETS;
use serde::{Deserialize, Serialize};

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty = $value:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }
        impl Default for $name {
            fn default() -> Self { Self { $($field: $value,)* } }
        }
    };
}

/// What a training step computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit storage and products, 32-bit sums.
    Mixed,
}

section! {
    /// `[data]`
    Data {
        /// `shapes` or a folder.
        path: String = "shapes".into(),
        /// Training images of `shapes`.
        shapes_train: usize = 2560,
        /// Test images of `shapes`.
        shapes_test: usize = 1000,
        /// Side to which images of a folder are brought when they are read; 0: the side of the views up to 64 px, else 256/224 of it.
        stored_size: usize = 0,
        /// STL-10: train on its 100,000 unlabelled images too; evaluation learns from the labelled ones.
        unlabeled: bool = false,
        /// STL-10: use only this fold (0 to 9) of the labelled training images; -1: all.
        fold: i64 = -1,
        /// Training images of at most so many MiB lie on the device; larger sets are streamed, a batch at a time.
        resident_mib: usize = 4096,
    }
}
section! {
    /// `[model]`
    Model {
        /// `tiny`, `resnet18`, `resnet34` or `resnet50`.
        encoder: String = "tiny".into(),
        /// Channels of the first stage (64 in the papers).
        width: usize = 16,
        /// Factor on all channels (2 and 4: SimCLR's wide networks).
        width_multiplier: usize = 1,
        /// `cifar`: 3x3, no max-pool; `imagenet`: 7x7 stride 2 and max-pool.
        stem: String = "cifar".into(),
        /// Stride of the `cifar` stem (2 for speed).
        stem_stride: usize = 1,
        /// Start the last batch norm of every block at zero.
        zero_init_residual: bool = false,
        /// Side of the views.
        image_size: usize = 32,
    }
}
section! {
    /// `[method]`
    Method {
        /// `simclr`, `moco`, `simsiam`, `barlow_twins`, `byol` or `vicreg`.
        name: String = "simclr".into(),
        /// Decay of the momentum encoder (moco, byol).
        momentum: f32 = 0.99,
        /// Its value at the end, approached along a cosine (BYOL: 1); negative: constant.
        final_momentum: f32 = -1.0,
        /// Keys in the queue of a head (moco).
        queue: usize = 4096,
        /// Both views serve as queries (moco); else only the first.
        symmetric: bool = true,
        /// Groups of the batch with batch statistics of their own (moco: 8 stand for eight GPUs, and are what it takes where nothing is set, or as many as the batch can be cut into).
        bn_splits: usize = 1,
        /// Keys are grouped otherwise than queries (moco with groups).
        shuffle: bool = true,
        /// One projector for all heads (simsiam).
        shared_target: bool = false,
        /// Without it, simsiam collapses: a demonstration.
        predictor: bool = true,
        /// Hidden width of the predictor (simsiam, byol).
        predictor_hidden: usize = 512,
        /// Weight of the off-diagonal (barlow_twins).
        lambda: f64 = 5e-3,
        /// Temperature of Eq. (2.3)'s diagonal where it does not adapt (barlow_twins with AMCL); 1: as in the plain loss.
        tau_diagonal: f64 = 1.0,
        /// The same off the diagonal.
        tau_off_diagonal: f64 = 1.0,
        /// Weights of invariance, variance and covariance (vicreg).
        vicreg: [f64; 3] = [25.0, 25.0, 1.0],
        /// Channel vectors at unit length before phi (barlow_twins with AMCL).
        unit_channels: bool = true,
    }
}
section! {
    /// `[heads]`
    Heads {
        /// Projection heads (C).
        count: usize = 1,
        /// Hidden width.
        hidden: usize = 64,
        /// Output width (d').
        out: usize = 128,
        /// Linear layers.
        layers: usize = 2,
        /// Batch norm behind the hidden layers (simsiam, barlow_twins and byol always have it).
        norm: bool = false,
        /// Behind the last layer: `plain`, `norm` (batch norm; simsiam where nothing is set) or `bare_norm` (without scale and shift).
        last: String = "plain".into(),
    }
}
section! {
    /// `[loss]`
    Loss {
        /// Temperature of plain NT-Xent and InfoNCE.
        temperature: f64 = 0.2,
        /// How a loss over all pairs is computed, of images (simclr) or of channels (barlow_twins): with a `matrix` of them, as a `stream` of tiles in memory that grows with
        /// the batch (the channels) and not with its square, or `auto`: streamed where a matrix would exceed 128 MiB.
        path: Path = Path::Auto,
        /// Constant temperatures of simclr and moco (this one, or `amcl.tau_const` of roles that do not adapt) are `constant`, or follow a `cosine` between low and high (TS; Kukleva et
        /// al., ICLR 2023). `macl` (plain simclr and moco; Huang et al., ICML 2023): temperature (1 + alpha (A - alignment)), A the mean similarity of the batch's positives, and each
        /// anchor's loss times 1 / (1 - P), P the share of its positive.
        schedule: String = "constant".into(),
        /// Highest temperature of the cosine, at its start.
        high: f64 = 1.0,
        /// Lowest, after half a period.
        low: f64 = 0.1,
        /// Epochs of a period; 0: all of them, at most 200.
        period: usize = 0,
        /// How much macl's temperature follows the alignment, 0 to 1.
        alpha: f64 = 0.5,
        /// Alignment at which macl's temperature is `temperature`.
        alignment: f64 = 0.0,
    }
}
section! {
    /// `[amcl]`
    AmclSection {
        /// Use the AMCL loss.
        enabled: bool = false,
        /// Its switches.
        #[serde(flatten)]
        switches: Amcl = Amcl::default(),
    }
}
section! {
    /// `[optim]`
    Optim {
        /// `sgd` (PyTorch's), `adamw`, or `lars` (SGD with layer-wise trust ratios).
        name: String = "sgd".into(),
        /// Learning rate (no scaling with the batch).
        lr: f32 = 0.06,
        /// Momentum of sgd and lars.
        momentum: f32 = 0.9,
        /// Nesterov's form of the momentum.
        nesterov: bool = false,
        /// Weight decay: added to the gradient (sgd, lars) or decoupled (adamw).
        weight_decay: f32 = 5e-4,
        /// No weight decay for biases and normalisation (always so for lars).
        exclude_bias_and_norm: bool = false,
        /// Decays of adamw's moments.
        betas: [f32; 2] = [0.9, 0.999],
        /// Added to the root of adamw's second moment.
        eps: f32 = 1e-8,
        /// Trust coefficient of lars.
        trust: f32 = 1e-3,
        /// `f32`, or `mixed`: the encoder's activations, weights and gradients as f16 while a step runs, sums, losses, statistics and what the optimiser keeps in f32, with dynamic
        /// loss scaling.
        precision: Precision = Precision::F32,
        /// Images per step; each gives two views.
        batch_size: usize = 256,
        /// Gradient norm to clip at; 0: never.
        clip: f32 = 10.0,
        /// Parts that a batch is cut into, so that the activations of only one are held at a time.
        micro_batches: usize = 1,
        /// With micro-batches, simclr, barlow_twins and vicreg still take the loss of the whole batch, at the price of a second forward pass (gradient caching);
        /// false: each micro-batch has a loss of its own, with fewer negatives. The other methods' losses are means over images anyway.
        gradient_cache: bool = true,
    }
}
section! {
    /// `[schedule]`
    Schedule {
        /// Epochs of linear warm-up.
        warmup_epochs: usize = 0,
    }
}
section! {
    /// `[run]`
    Run {
        /// Epochs.
        epochs: usize = 20,
        /// Seed of everything.
        seed: u64 = 0,
        /// kNN accuracy every so many epochs (and at the end).
        knn_every: usize = 5,
        /// Neighbours (clipped to the bank).
        knn_k: usize = 200,
        /// Temperature of the votes.
        knn_t: f32 = 0.1,
        /// A checkpoint every so many epochs (and at the end).
        checkpoint_every: usize = 1,
    }
}

/// A complete configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Data.
    pub data: Data,
    /// Augmentation.
    pub augment: Policy,
    /// Encoder.
    pub model: Model,
    /// Method.
    pub method: Method,
    /// Heads.
    pub heads: Heads,
    /// AMCL.
    pub amcl: AmclSection,
    /// Plain loss.
    pub loss: Loss,
    /// Optimiser.
    pub optim: Optim,
    /// Schedule.
    pub schedule: Schedule,
    /// Run.
    pub run: Run,
}

impl Config {
    /// Opens the data set that the configuration names.
    ///
    /// # Errors
    /// As [`crate::data::open`].
    pub fn open_data(
        &self,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> std::result::Result<crate::data::Split, crate::data::DataError> {
        let d = &self.data;
        let size = self.model.image_size;
        crate::data::open(&crate::data::Request {
            path: &d.path,
            seed: self.run.seed,
            shapes: (d.shapes_train, d.shapes_test),
            stored_size: match d.stored_size {
                0 if size <= 64 => size,
                0 => size * 256 / 224,
                n => n,
            },
            unlabeled: d.unlabeled,
            fold: usize::try_from(d.fold).ok(),
            progress,
        })
    }

    /// Parses TOML text on top of the defaults, then applies `key=value` overrides (`optim.lr=0.1`). What neither sets and the method's recipe needs is the method's (`presets::complete`).
    ///
    /// # Errors
    /// Syntax, unknown keys (with the nearest known one), wrong types.
    pub fn parse(text: &str, overrides: &[String]) -> Result<Self> {
        let fail = |e: &dyn std::fmt::Display| ConfigError(format!("configuration: {e}"));
        let mut table: toml::Table = text.parse().map_err(|e| fail(&e))?;
        for o in overrides {
            let (key, value) = o
                .split_once('=')
                .ok_or_else(|| fail(&format!("`{o}` is not key=value")))?;
            let (section, field) = key
                .trim()
                .split_once('.')
                .ok_or_else(|| fail(&format!("`{key}` is not section.key")))?;
            let value = format!("v = {value}")
                .parse::<toml::Table>()
                .ok()
                .and_then(|mut t| t.remove("v"))
                .unwrap_or_else(|| toml::Value::String(value.to_string()));
            match table
                .entry(section)
                .or_insert_with(|| toml::Table::new().into())
            {
                toml::Value::Table(t) => t.insert(field.to_string(), value),
                _ => return Err(fail(&format!("`{section}` is not a section"))),
            };
        }
        let known = known_keys();
        for (section, value) in &table {
            let names: Vec<&str> = known
                .iter()
                .map(|k| k.split_once('.').map_or(k.as_str(), |k| k.0))
                .collect();
            if !names.contains(&section.as_str()) {
                return Err(fail(&format!(
                    "no section [{section}]; did you mean [{}]?",
                    nearest(section, names.into_iter())
                )));
            }
            for key in value.as_table().into_iter().flat_map(toml::Table::keys) {
                let full = format!("{section}.{key}");
                if !known.contains(&full) {
                    return Err(fail(&format!(
                        "no key {full}; did you mean {}?",
                        nearest(&full, known.iter().map(String::as_str))
                    )));
                }
            }
        }
        let mut c: Self = table.clone().try_into().map_err(|e| fail(&e))?;
        let given = |section: &str, key: &str| {
            let section = table.get(section).and_then(toml::Value::as_table);
            section.is_some_and(|t| t.contains_key(key))
        };
        presets::complete(&mut c, &given);
        c.check()?;
        Ok(c)
    }

    /// The text of a preset.
    ///
    /// # Errors
    /// No such preset; lists them.
    pub fn preset(name: &str) -> Result<&'static str> {
        PRESETS
            .iter()
            .find(|p| p.0 == name)
            .map(|p| p.1)
            .ok_or_else(|| {
                let all: Vec<&str> = PRESETS.iter().map(|p| p.0).collect();
                ConfigError(format!(
                    "no preset `{name}`; did you mean {}? There are: {}",
                    nearest(name, all.iter().copied()),
                    all.join(", ")
                ))
            })
    }

    fn check(&self) -> Result<()> {
        let wrong = |m: String| Err(ConfigError(m));
        self.augment.validate().map_err(ConfigError)?;
        let o = &self.optim;
        if o.micro_batches == 0
            || !o.batch_size.is_multiple_of(o.micro_batches)
            || o.batch_size / o.micro_batches < 2
        {
            return wrong(format!(
                "optim.batch_size {} must be a multiple of optim.micro_batches {} with at least 2 images each",
                o.batch_size, o.micro_batches
            ));
        }
        if self.heads.count == 0
            || self.heads.out == 0
            || self.model.width * self.model.width_multiplier * self.model.stem_stride == 0
            || self.model.image_size < 8
        {
            return wrong("heads.count, heads.out, model.width, model.width_multiplier and model.stem_stride must be positive, model.image_size at least 8".into());
        }
        if !self.amcl.enabled && self.heads.count != 1 {
            return wrong(format!(
                "plain {} has one head; for constant heads use amcl.enabled = true with amcl.adaptive = \"none\"",
                self.method.name
            ));
        }
        method::check(self)?;
        self.amcl
            .switches
            .validate()
            .map_err(|e| ConfigError(format!("[amcl]: {e}")))?;
        if !(self.loss.temperature.is_finite() && self.loss.temperature > 0.0) {
            return wrong(format!(
                "loss.temperature is {}, not positive",
                self.loss.temperature
            ));
        }
        let l = &self.loss;
        if !["constant", "cosine", "macl"].contains(&l.schedule.as_str()) {
            return wrong(format!(
                "loss.schedule is `{}`; there are constant, cosine, macl",
                l.schedule
            ));
        }
        if l.schedule == "macl" {
            let unit = 0.0..=1.0;
            if !unit.contains(&l.alpha) || !unit.contains(&l.alignment) {
                return wrong(format!(
                    "loss.alpha {} and loss.alignment {} are from 0 to 1",
                    l.alpha, l.alignment
                ));
            }
            if self.amcl.enabled || !["simclr", "moco"].contains(&self.method.name.as_str()) {
                return wrong(format!(
                    "loss.schedule = \"macl\" sets the one temperature of plain simclr and moco; {} has none such",
                    self.method_title()
                ));
            }
        }
        if !(l.low > 0.0 && l.high >= l.low && l.high.is_finite()) {
            return wrong(format!(
                "loss.low {} and loss.high {} must be positive and in order",
                l.low, l.high
            ));
        }
        if !(o.lr.is_finite() && o.lr > 0.0) || self.run.knn_k == 0 {
            return wrong("optim.lr and run.knn_k must be positive".into());
        }
        Ok(())
    }

    /// The method and its loss, for people.
    pub fn method_title(&self) -> String {
        let heads = self.heads.count;
        let name = method::title(&self.method.name);
        match (self.amcl.enabled, self.loss.schedule.as_str()) {
            (true, _) => format!("{name} + AMCL, {heads} heads"),
            (false, "macl") => format!("{name} with MACL"),
            (false, _) => name.into(),
        }
    }

    /// The configuration as TOML.
    ///
    /// # Errors
    /// Values that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).map_err(|e| ConfigError(e.to_string()))
    }
}

/// All `section.key`, read off the defaults themselves.
fn known_keys() -> Vec<String> {
    let table = toml::Table::try_from(Config::default()).unwrap_or_default();
    table
        .iter()
        .flat_map(|(s, v)| {
            v.as_table()
                .into_iter()
                .flat_map(toml::Table::keys)
                .map(move |k| format!("{s}.{k}"))
        })
        .collect()
}

/// The candidate of least edit distance.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> &'a str {
    let distance = |a: &str, b: &str| {
        let b: Vec<char> = b.chars().collect();
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.chars().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            for (j, y) in b.iter().enumerate() {
                let up = row[j + 1];
                row[j + 1] = (diagonal + usize::from(x != *y))
                    .min(up + 1)
                    .min(row[j] + 1);
                diagonal = up;
            }
        }
        row[b.len()]
    };
    candidates.min_by_key(|c| distance(word, c)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_parse_and_resolve_to_themselves() {
        for (name, text) in PRESETS.iter() {
            let c = Config::parse(text, &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(
                Config::parse(&c.to_toml().unwrap(), &[]).unwrap(),
                c,
                "{name}"
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, over, want) in [
            (
                "[optim]\nlearning_rate = 1",
                "",
                "no key optim.learning_rate",
            ),
            ("[optim]\nlr_ = 1", "", "did you mean optim.lr?"),
            ("[optimm]\nlr = 1", "", "did you mean [optim]?"),
            ("", "run.epoch=3", "did you mean run.epochs?"),
            ("", "amcl.kapa=3", "did you mean amcl.kappa?"),
            ("", "epochs=3", "not section.key"),
            ("", "optim.micro_batches=3", "multiple of"),
            ("", "amcl.tau_min=3", "tau_min"),
        ] {
            let over: Vec<String> = if over.is_empty() {
                vec![]
            } else {
                vec![over.into()]
            };
            let e = Config::parse(text, &over).unwrap_err().to_string();
            assert!(e.contains(want), "{text} {over:?}: {e}");
        }
        let c = Config::parse("", &["run.epochs=3".into(), "data.path=a b".into()]).unwrap();
        assert_eq!((c.run.epochs, c.data.path.as_str()), (3, "a b"));
    }
}
