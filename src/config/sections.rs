//! The sections of a configuration that are no method's own, with the range of every number.

use crate::nn::Precision;
use crate::nn::backbones;
use crate::section;
use crate::settings::{above, at_least, between};
use serde::{Deserialize, Serialize};
use toml::Table;

section! {
    /// `[data]`
    Data {
        /// `shapes` or a folder.
        path: String = "shapes".into(),
        /// Training images of `shapes`.
        shapes_train: usize = 2560,
        /// Test images of `shapes`.
        shapes_test: usize = 1000,
        /// Side to which images of a folder are brought when they are read; 0: the side of the views up to 64 px,
        /// else 256/224 of it.
        stored_size: usize = 0,
        /// STL-10: train on its 100,000 unlabelled images too; evaluation learns from the labelled ones.
        unlabeled: bool = false,
        /// STL-10: use only this fold (0 to 9) of the labelled training images; -1: all.
        fold: i64 = -1 => between(-1.0, 9.0),
        /// Training images of at most so many MiB lie on the device; larger sets are streamed, a batch at a time.
        resident_mib: usize = 4096,
    }
}

/// `[model]`: the encoder's name, the side of its images, and the settings of its family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelSettings {
    /// Name of the encoder ([`backbones::FAMILIES`] lists them).
    #[serde(default = "tiny")]
    pub encoder: String,
    /// Side of the views.
    #[serde(default = "side")]
    pub image_size: usize,
    /// The family's settings.
    #[serde(flatten)]
    pub settings: Table,
}

fn tiny() -> String {
    "tiny".into()
}

fn side() -> usize {
    32
}

impl Default for ModelSettings {
    fn default() -> Self {
        let (encoder, image_size) = (tiny(), side());
        let family = backbones::family(&encoder);
        let settings = family.and_then(|f| (f.complete)(&Table::new()));
        Self {
            encoder,
            image_size,
            settings: settings.unwrap_or_default(),
        }
    }
}

/// `[method]`: its name, and its own settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodSettings {
    /// Name of the method ([`crate::methods::METHODS`] lists them).
    #[serde(default = "simclr")]
    pub name: String,
    /// Its settings.
    #[serde(flatten)]
    pub settings: Table,
}

fn simclr() -> String {
    "simclr".into()
}

impl Default for MethodSettings {
    fn default() -> Self {
        Self {
            name: simclr(),
            settings: Table::new(),
        }
    }
}

section! {
    /// `[optim]`
    Optim {
        /// `sgd` (PyTorch's), `adamw`, or `lars` (SGD with layer-wise trust ratios).
        name: String = "sgd".into(),
        /// Learning rate (no scaling with the batch).
        lr: f32 = 0.06 => above(0.0),
        /// Momentum of sgd and lars.
        momentum: f32 = 0.9 => between(0.0, 1.0),
        /// Nesterov's form of the momentum.
        nesterov: bool = false,
        /// Weight decay: added to the gradient (sgd, lars) or decoupled (adamw).
        weight_decay: f32 = 5e-4 => at_least(0.0),
        /// No weight decay for biases and normalisation (always so for lars).
        exclude_bias_and_norm: bool = false,
        /// Decays of adamw's moments.
        betas: [f32; 2] = [0.9, 0.999] => between(0.0, 1.0),
        /// Added to the root of adamw's second moment.
        eps: f32 = 1e-8 => at_least(0.0),
        /// Trust coefficient of lars.
        trust: f32 = 1e-3 => at_least(0.0),
        /// `f32`, or `mixed`: the encoder's activations, weights and gradients as f16 while a step runs, sums,
        /// losses, statistics and what the optimiser keeps in f32, with dynamic loss scaling.
        precision: Precision = Precision::F32,
        /// Images per step; each gives two views.
        batch_size: usize = 256 => at_least(2.0),
        /// Gradient norm to clip at; 0: never.
        clip: f32 = 10.0 => at_least(0.0),
        /// Parts that a batch is cut into, so that the activations of only one are held at a time.
        micro_batches: usize = 1 => at_least(1.0),
        /// With micro-batches, simclr, barlow_twins and vicreg still take the loss of the whole batch, at the price
        /// of a second forward pass (gradient caching); false: each micro-batch has a loss of its own, with fewer
        /// negatives. The other methods' losses are means over images anyway.
        gradient_cache: bool = true,
    }
}
section! {
    /// `[schedule]`
    ScheduleSettings {
        /// Epochs of linear warm-up.
        warmup_epochs: usize = 0,
    }
}

section! {
    /// `[run]`
    RunSettings {
        /// Epochs.
        epochs: usize = 20,
        /// Seed of everything.
        seed: u64 = 0,
        /// kNN accuracy every so many epochs (and at the end).
        knn_every: usize = 5,
        /// Neighbours (clipped to the bank).
        knn_k: usize = 200 => at_least(1.0),
        /// Temperature of the votes.
        knn_t: f32 = 0.1 => above(0.0),
        /// A checkpoint every so many epochs (and at the end).
        checkpoint_every: usize = 1,
    }
}
