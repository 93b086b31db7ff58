//! The sections of a configuration that are no method's own, with the range of every number.

use crate::data::pixels::{Alpha, Decoder, Kept, NEWEST};
use crate::data::sampler::Shuffle;
use crate::nn::Precision;
use crate::nn::backbones;
use crate::section;
use crate::settings::{Numbers, Range, SEED, above, between};
use serde::{Deserialize, Serialize};
use toml::Table;

/// Epochs of a training, of a run's or of a classifier's.
pub const EPOCHS: Range = between(0.0, 1e6);

/// Images of a step.
pub const BATCH: Range = between(2.0, 1_048_576.0);

/// Learning rates. There is no largest: a rate that is too large makes itself known by a loss that is not finite.
pub const RATE: Range = above(0.0);

/// Learning rates at which a schedule ends.
pub const LEAST_RATE: Range = between(0.0, f64::INFINITY);

/// Factors of layer decay: 1 is none.
pub const LAYER_DECAY: Range = above(0.0).to(1.0);

/// Weight decays.
pub const WEIGHT_DECAY: Range = between(0.0, 1e3);

/// Momentum of an optimiser: with 1, no gradient would ever be forgotten.
pub const MOMENTUM: Range = between(0.0, 1.0).without_high();

/// Neighbours that vote.
pub const NEIGHBOURS: Range = between(1.0, 1e9);

/// Temperatures of votes.
pub const VOTES: Range = between(1e-6, 1e6);

section! {
    /// `[data]`
    Data {
        /// `shapes`, a folder, a CSV list, or tar or parquet files (one, or `NAME-{000..012}.tar`).
        path: String = "shapes".into(),
        /// Training images of `shapes`.
        shapes_train: usize = 2560 => between(1.0, 1e7),
        /// Test images of `shapes`.
        shapes_test: usize = 1000 => between(0.0, 1e7),
        /// Side to which images of a folder are brought when they are read; 0: the side of the views up to 64 px,
        /// else 256/224 of it, and of a packed set the side that it has.
        stored_size: usize = 0 => between(0.0, 8192.0),
        /// What is kept of a folder's images: `square`, the largest square in their middle, or `short_side`, all of
        /// them, their shorter side brought to `data.stored_size`, so that random crops are drawn on whole images as
        /// torchvision's are. Images longer than two to one are cut to that; each takes the memory of two squares.
        stored: Kept = Kept::Square,
        /// Images of a folder are turned upright, as their EXIF orientation says; false: they lie as torchvision's
        /// `ImageFolder` leaves them.
        exif: bool = true,
        /// An alpha channel of a folder's images: `drop`, as torchvision does, so that transparent pixels show their
        /// hidden colours, or `white`: they are laid on white.
        alpha: Alpha = Alpha::Drop,
        /// What decodes JPEGs: `zune`, or `turbo`, libjpeg-turbo, which reads large photos at a fraction of their size
        /// (only in programs that were built with it).
        decoder: Decoder = Decoder::Zune,
        /// Version of the way from files to pixels (`data::pixels`): 2, or 1, which run folders of configurations
        /// before version 3 mean.
        pixels: usize = NEWEST => between(1.0, NEWEST as f64),
        /// STL-10: train on its 100,000 unlabelled images too; evaluation learns from the labelled ones.
        unlabeled: bool = false,
        /// STL-10: use only this fold (0 to 9) of the labelled training images; -1: all.
        fold: i64 = -1 => between(-1.0, 9.0),
        /// A CSV list of names of the set's images, with labels and parts if these are to be others than the set's: the
        /// set is divided as it says.
        list: String = String::new(),
        /// Images of at most so many MiB are decoded before the first step and kept in the host's memory; larger sets
        /// are read and decoded while training goes on, those of a folder, a list, tar shards or parquet files.
        memory_mib: usize = 4096 => between(0.0, 1e9),
        /// Folder of a packed copy of image files (`data pack`), which is made if it is not there and read
        /// from then on; empty: the files themselves are read.
        cache: String = String::new(),
        /// Images of at most so many MiB are read ahead, two batches at least.
        readahead_mib: usize = 512 => between(1.0, 1e6),
        /// Threads that decode images which are not kept in memory; 0: one a core but one.
        threads: usize = 0 => between(0.0, 1024.0),
        /// How the images of an epoch are shuffled: `full`, all together; `blocks`, those that lie together with others
        /// alone, which slow storage reads faster; `auto`: blocks for parquet files that are not kept in memory.
        shuffle: Shuffle = Shuffle::Auto,
        /// Largest share of images that may turn out unreadable while training goes on, each of which another one of
        /// its class stands in for; beyond it the run stops.
        max_bad: f64 = 1e-3 => between(0.0, 1.0),
        /// Training images of at most so many MiB lie on the device; larger sets are streamed, a batch at a time.
        resident_mib: usize = 4096 => between(0.0, 1e9),
    }
}

section! {
    /// `[model]`: the encoder's name, the side of its images, and the settings of its family.
    ModelSettings {
        /// Name of the encoder.
        encoder: String = "tiny".into(),
        /// Side of the views.
        image_size: usize = 32 => between(8.0, 4096.0),
        /// Batch norm of encoder and heads takes the images of all ranks together, as one rank would that had the
        /// whole batch; false: each rank's by themselves. Two exchanges a layer and step; not with micro-batches.
        sync_bn: bool = false,
        ..settings: Table = {
            let family = backbones::family("tiny");
            family.and_then(|f| (f.complete)(&Table::new())).unwrap_or_default()
        },
    }
}

section! {
    /// `[method]`: its name, and its own settings.
    MethodSettings {
        /// Name of the method.
        name: String = "simclr".into(),
        ..settings: Table = Table::new(),
    }
}

/// Which parameters have weight decay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decays {
    /// All.
    #[default]
    All,
    /// All but biases and tensors of one axis, which are those of normalisation. Class and mask tokens, which have
    /// three axes, do decay (MAE's pre-training).
    NoVectors,
    /// As [`Decays::NoVectors`], and neither class and mask tokens nor position embeddings (MAE's fine-tuning, timm's
    /// `no_weight_decay`).
    NoTokens,
}

/// How LARS measures a tensor's step, to which its trust ratio compares the tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrustNorm {
    /// |g| + wd |w| + 1e-8 (You, Gitman, Ginsburg 2017).
    #[default]
    Sum,
    /// |g + wd w| (MAE's code).
    Step,
}

/// How often a schedule moves the learning rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moves {
    /// Every epoch; the first epoch of a warm-up has its first stair, lr/W.
    #[default]
    Epoch,
    /// Every step; the first step of a warm-up has rate 0 (MAE, MoCo v3).
    Step,
}

section! {
    /// `[optim]`
    Optim {
        /// `sgd` (PyTorch's), `adamw`, or `lars` (SGD with layer-wise trust ratios).
        name: String = "sgd".into(),
        /// Learning rate (no scaling with the batch).
        lr: f32 = 0.06 => RATE,
        /// Learning rate of 256 images, in place of `lr`: the rate is blr x batch_size / 256; 0: `lr` counts.
        blr: f32 = 0.0 => LEAST_RATE,
        /// Momentum of sgd and lars.
        momentum: f32 = 0.9 => MOMENTUM,
        /// Nesterov's form of the momentum.
        nesterov: bool = false,
        /// Weight decay: added to the gradient (sgd, lars) or decoupled (adamw).
        weight_decay: f32 = 5e-4 => WEIGHT_DECAY,
        /// What decays: `all`; `no_vectors`: not biases and normalisation (always so for lars); `no_tokens`: nor class
        /// and mask tokens and position embeddings.
        decay: Decays = Decays::All,
        /// Layer decay: each layer's rate is so many times that of the layer behind it; the last layer and all that
        /// is no encoder have the whole rate. 1: none.
        layer_decay: f32 = 1.0 => LAYER_DECAY,
        /// Factors on the learning rate by depth: the blocks are cut into as many equal runs as there are factors.
        /// What stands before the blocks has the first, what stands behind them and all that is no encoder the last.
        layer_rates: Vec<f32> = Vec::new() => between(0.0, 1e6),
        /// Factor on the learning rate of biases and of normalisation: those that lars takes without a trust ratio may
        /// need a smaller one (Barlow Twins' code: 0.0048 beside 0.2 for all others).
        vectors_rate: f32 = 1.0 => between(0.0, 1e6),
        /// Decays of adamw's moments.
        betas: [f32; 2] = [0.9, 0.999] => MOMENTUM,
        /// Added to the root of adamw's second moment. 0 would divide 0 by 0 where a gradient is 0.
        eps: f32 = 1e-8 => between(1e-16, 1.0),
        /// Trust coefficient of lars.
        trust: f32 = 1e-3 => above(0.0).to(1e3),
        /// What lars divides a tensor's norm by: `sum`, |g| + wd |w|, or `step`, |g + wd w|, as MAE's code does.
        trust_norm: TrustNorm = TrustNorm::Sum,
        /// `f32`, or `mixed`: the encoder's activations, weights and gradients as f16 while a step runs, sums,
        /// losses, statistics and what the optimiser keeps in f32, with dynamic loss scaling.
        precision: Precision = Precision::F32,
        /// Images per step; each gives two views.
        batch_size: usize = 256 => BATCH,
        /// Gradient norm to clip at; 0: never.
        clip: f32 = 10.0 => between(0.0, 1e12),
        /// Parts that a rank's share of a batch is cut into, so that the activations of only one are held at a time.
        micro_batches: usize = 1 => between(1.0, 524_288.0),
        /// With micro-batches, methods whose loss couples the images of a batch (simclr, mocov3, barlow_twins, vicreg,
        /// can, lgp) still take the loss of the whole batch, at the price of a second forward pass (gradient
        /// caching); false: each micro-batch has a loss of its own, with fewer negatives. The other methods' losses
        /// are means over images anyway.
        gradient_cache: bool = true,
    }
}

section! {
    /// `[dist]`: ranks, which share every batch. A rank is a process of `mpirun`, or a device of `--devices`.
    Dist {
        /// How many share a batch. The program sets it; a file keeps what its run was trained with.
        ranks: usize = 1 => between(1.0, 65_536.0),
        /// How many equal parts of a batch each rank has, for ranks of unlike speed: [3, 1] gives the first three
        /// quarters. A part is a micro-batch, or is cut into `optim.micro_batches`. Empty: one each.
        shares: Vec<usize> = Vec::new() => between(1.0, 1024.0),
        /// Each rank updates a piece of the parameters and gives it to the others, so that devices that round the same
        /// update differently hold the same weights. Set by itself where the ranks' devices are unlike.
        owners: bool = false,
        /// Gradients go to the other ranks in buckets of so many MiB (the first one of a quarter), while the backward
        /// pass goes on.
        bucket_mib: f32 = 16.0 => above(0.0).to(1024.0),
        /// Seconds that ranks wait for each other before the run ends.
        timeout_s: f32 = 300.0 => between(1.0, 604_800.0),
    }
}

impl Optim {
    /// The learning rate: `lr`, or what `blr` makes of the batch.
    pub fn rate(&self) -> f32 {
        self.exact_rate() as f32
    }

    /// The learning rate with all digits that the settings have as they are written: 1.5e-4 for the f32 next to it.
    pub fn exact_rate(&self) -> f64 {
        match self.blr {
            0.0 => self.lr.numbers()[0],
            blr => blr.numbers()[0] * self.batch_size as f64 / 256.0,
        }
    }

    /// How `blr` made the learning rate, in words; none where `lr` is given.
    pub fn rate_in_words(&self) -> Option<String> {
        let shown = |x: f32| match x < 1e-3 {
            true => format!("{x:e}"),
            false => x.to_string(),
        };
        (self.blr > 0.0).then(|| {
            let (blr, rate) = (shown(self.blr), shown(self.rate()));
            format!("learning rate {blr} x {} / 256 = {rate}", self.batch_size)
        })
    }
}

section! {
    /// `[schedule]`: linear warm-up from 0 to the learning rate, then a cosine to `min_lr`.
    ScheduleSettings {
        /// Epochs of linear warm-up.
        warmup_epochs: usize = 0 => EPOCHS,
        /// Learning rate at the end of the cosine.
        min_lr: f32 = 0.0 => LEAST_RATE,
        /// The rate moves every `epoch` or every `step`.
        moves: Moves = Moves::Epoch,
    }
}

section! {
    /// `[run]`
    RunSettings {
        /// Epochs.
        epochs: usize = 20 => EPOCHS,
        /// Seed of everything.
        seed: u64 = 0 => SEED,
        /// kNN accuracy every so many epochs (and at the end); 0: at the end alone.
        knn_every: usize = 5 => EPOCHS,
        /// Neighbours (clipped to the bank).
        knn_k: usize = 200 => NEIGHBOURS,
        /// Temperature of the votes.
        knn_t: f32 = 0.1 => VOTES,
        /// A checkpoint every so many epochs (and at the end); 0: as 1.
        checkpoint_every: usize = 1 => EPOCHS,
    }
}
