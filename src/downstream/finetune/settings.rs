//! How an encoder is fine-tuned: settings, named recipes, the protocol in words.

use crate::config::{
    BATCH, Config, Decays, LAYER_DECAY, LEAST_RATE, Moves, Optim, RATE, WEIGHT_DECAY,
};
use crate::data::augment::Policy;
use crate::data::mixing::Mixing;
use crate::data::rand_augment;
use crate::downstream::probe::crops;
use crate::reference::augment::Filter;
use crate::settings::{self, Range, SEED, above, between, did_you_mean};
use serde::{Deserialize, Serialize};
use toml::Table;

/// Shares of 1 that may not be 1.
const PART: Range = between(0.0, 1.0).without_high();

/// Alphas of Beta distributions.
const ALPHA: Range = between(0.0, 100.0);

/// The optimiser of fine-tuning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimiser {
    /// SGD with momentum 0.9.
    #[default]
    Sgd,
    /// AdamW with betas 0.9 and 0.999.
    Adamw,
}

/// What the classifier sees of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The encoder's own feature.
    #[default]
    Own,
    /// The mean over the patches' tokens before the encoder's last norm, behind a new layer norm (MAE).
    Mean,
}

crate::section! {
    /// How to fine-tune. The rate decays along a cosine, images are cropped and mirrored ([`crops`]).
    #[derive(Copy)]
    FinetuneSettings {
        /// Epochs.
        epochs: usize = 30 => between(1.0, 1e6),
        /// Images a step.
        batch_size: usize = 128 => BATCH,
        /// `sgd` (momentum 0.9) or `adamw` (betas 0.9 and 0.999).
        optimiser: Optimiser = Optimiser::Sgd,
        /// Learning rate.
        lr: f32 = 0.05 => RATE,
        /// Learning rate of 256 images, in place of `lr`; 0: `lr` counts.
        blr: f32 = 0.0 => LEAST_RATE,
        /// Weight decay.
        weight_decay: f32 = 0.0 => WEIGHT_DECAY,
        /// What decays: `all`, `no_vectors`, `no_tokens` (as `optim.decay`).
        decay: Decays = Decays::All,
        /// Each layer's rate is so many times that of the layer behind it; 1: one rate.
        layer_decay: f32 = 1.0 => LAYER_DECAY,
        /// Epochs of linear warm-up.
        warmup_epochs: usize = 0 => between(0.0, 1e6),
        /// Learning rate at the end.
        min_lr: f32 = 0.0 => LEAST_RATE,
        /// The rate moves every `epoch` or every `step`.
        moves: Moves = Moves::Epoch,
        /// Gradient norm to clip at; 0: never.
        clip: f32 = 0.0 => between(0.0, 1e12),
        /// What the classifier sees: the encoder's `own` feature, or the `mean` over the patches' tokens before the
        /// last norm, behind a new norm.
        pool: Pooling = Pooling::Own,
        /// Probability that an image leaves out a residual branch of the last block; the blocks before have less, the
        /// first 0 (stochastic depth).
        drop_path: f32 = 0.0 => PART,
        /// Share of each label that is spread over all classes.
        smoothing: f32 = 0.0 => PART,
        /// mixup's alpha; 0: none.
        mixup: f32 = 0.0 => ALPHA,
        /// CutMix's alpha; 0: none. With both, one of them is drawn for each batch.
        cutmix: f32 = 0.0 => ALPHA,
        /// Magnitude of RandAugment: two operations of PIL's fifteen, each with probability 0.5; 0: none.
        randaugment: f32 = 0.0 => between(0.0, rand_augment::MOST as f64),
        /// Probability that a box of an image becomes noise (random erasing).
        erase: f32 = 0.0 => between(0.0, 1.0),
        /// Least share of the area that a crop keeps.
        min_scale: f32 = 0.08 => above(0.0).to(1.0),
        /// How crops, test images and RandAugment's moves are resized: `bilinear` or `bicubic`. Left out: as the run's
        /// `augment.interpolation` (MAE's and timm's fine-tuning: bicubic).
        interpolation: Filter = Filter::Bilinear,
        /// Seed of order, crops and all else that is drawn.
        seed: u64 = 0 => SEED,
    }
}

/// Recipes by name.
pub const RECIPES: [&str; 2] = ["plain", "mae"];

/// Images up to this side count as small.
const SMALL: usize = 96;

/// Blocks from which on a Vision Transformer counts as large.
const LARGE: usize = 24;

/// Refuses a recipe that there is not.
///
/// # Errors
/// Names the nearest one.
pub fn known_recipe(name: &str) -> Result<(), String> {
    if RECIPES.contains(&name) {
        return Ok(());
    }
    let all = did_you_mean(name, RECIPES.iter().copied());
    Err(format!("no recipe `{name}` of fine-tuning; {all}"))
}

impl FinetuneSettings {
    /// A recipe for the encoder of a configuration.
    ///
    /// - `plain`: SGD, crops and mirroring.
    /// - `mae`: what MAE's authors fine-tune with (He et al., CVPR 2022; FINETUNE.md of facebookresearch/mae), for
    ///   Vision Transformers. Images up to 96 px have batches of 256, twice the rate, a layer decay of 0.75 (networks
    ///   that were trained less are moved more), and crops from 0.35 of the area.
    ///
    /// # Errors
    /// There is no such recipe, or it is not for this encoder.
    pub fn recipe(name: &str, config: &Config) -> Result<Self, String> {
        known_recipe(name)?;
        let own = Self {
            interpolation: config.augment.interpolation,
            ..Self::default()
        };
        if name == "plain" {
            return Ok(own);
        }
        let m = &config.model;
        if !m.encoder.starts_with("vit_") {
            return Err(format!(
                "the recipe mae is for Vision Transformers, and the encoder is {}: leave it out, and take what it has \
                 with --set (mixup, cutmix, smoothing, erase)",
                m.encoder
            ));
        }
        let encoder = config.backbone().map_err(|e| e.to_string())?;
        let mae = Self {
            epochs: 100,
            batch_size: 1024,
            optimiser: Optimiser::Adamw,
            blr: 5e-4,
            weight_decay: 0.05,
            decay: Decays::NoTokens,
            layer_decay: 0.65,
            warmup_epochs: 5,
            min_lr: 1e-6,
            moves: Moves::Step,
            pool: Pooling::Mean,
            drop_path: 0.1,
            smoothing: 0.1,
            mixup: 0.8,
            cutmix: 1.0,
            randaugment: 9.0,
            erase: 0.25,
            ..own
        };
        Ok(match (m.image_size <= SMALL, encoder.blocks() >= LARGE) {
            (true, _) => Self {
                batch_size: 256,
                blr: 1e-3,
                layer_decay: 0.75,
                min_scale: 0.35,
                ..mae
            },
            (false, true) => Self {
                epochs: 50,
                blr: 1e-3,
                layer_decay: 0.75,
                drop_path: 0.2,
                ..mae
            },
            (false, false) => mae,
        })
    }

    /// The settings with what is given in place of theirs. A learning rate takes the place of the other kind of it, and
    /// a warm-up that is not given becomes no longer than the training.
    ///
    /// # Errors
    /// An unknown key, a number outside its range, two learning rates, a warm-up longer than the training.
    pub fn with(self, given: &Table) -> Result<Self, String> {
        let mut all = settings::table(&self)?;
        if given.contains_key("lr") && given.contains_key("blr") {
            return Err(
                "finetune.lr and finetune.blr both set the learning rate; give one of them".into(),
            );
        }
        if given.contains_key("lr") {
            all.remove("blr");
        }
        all.extend(given.clone());
        let all = settings::complete::<Self>("finetune", &all)?;
        let mut s: Self = settings::typed(&all)?;
        if !given.contains_key("warmup_epochs") {
            s.warmup_epochs = s.warmup_epochs.min(s.epochs);
        }
        s.check()?;
        Ok(s)
    }

    /// What its numbers must be together.
    ///
    /// # Errors
    /// Says which is not, and what would do.
    pub fn check(&self) -> Result<(), String> {
        settings::Section::check_ranges(self, "finetune")?;
        if self.warmup_epochs > self.epochs {
            return Err(format!(
                "finetune.warmup_epochs is {}; it must be from 0 to finetune.epochs, {}",
                self.warmup_epochs, self.epochs
            ));
        }
        let rate = self.optim(self.batch_size).rate();
        if self.min_lr > rate {
            return Err(format!(
                "finetune.min_lr {} is more than the learning rate, {rate}; it is where the rate ends",
                self.min_lr
            ));
        }
        Ok(())
    }

    /// The optimiser for steps of so many images.
    pub(super) fn optim(&self, batch_size: usize) -> Optim {
        let name = match self.optimiser {
            Optimiser::Sgd => "sgd",
            Optimiser::Adamw => "adamw",
        };
        Optim {
            name: name.into(),
            lr: self.lr,
            blr: self.blr,
            momentum: 0.9,
            nesterov: false,
            weight_decay: self.weight_decay,
            decay: self.decay,
            layer_decay: self.layer_decay,
            betas: [0.9, 0.999],
            batch_size,
            clip: self.clip,
            ..Optim::default()
        }
    }

    /// Optimiser, schedule and length in place of a configuration's.
    pub(super) fn configured(&self, config: &Config, batch_size: usize) -> Config {
        let mut own = config.clone();
        own.optim = self.optim(batch_size);
        own.schedule.warmup_epochs = self.warmup_epochs;
        own.schedule.min_lr = self.min_lr;
        own.schedule.moves = self.moves;
        own.run.epochs = self.epochs;
        own
    }

    /// The crops and mirroring, normalised as a configuration's images are.
    pub(super) fn policy(&self, config: &Config) -> Policy {
        Policy {
            min_scale: self.min_scale,
            interpolation: self.interpolation,
            ..crops(&config.augment)
        }
    }

    /// What of a configuration's augmentation concerns the test transform.
    pub(crate) fn seen(&self, config: &Config) -> Policy {
        Policy {
            interpolation: self.interpolation,
            ..config.augment.clone()
        }
    }

    /// How batches are mixed.
    pub(super) fn mixing(&self) -> Mixing {
        Mixing {
            mixup: self.mixup,
            cutmix: self.cutmix,
        }
    }

    /// The protocol in words.
    pub fn describe(&self) -> String {
        let mut parts = vec!["fine-tuning: all weights and a linear classifier".to_string()];
        if self.pool == Pooling::Mean {
            parts.push(
                "on the mean of the patches' tokens before the last norm, behind a new norm".into(),
            );
        }
        let p = self.policy(&Config::default());
        parts.push(format!(
            "random crops ({} to 1) and mirroring ({})",
            p.min_scale, p.hf_prob
        ));
        if self.randaugment > 0.0 {
            parts.push(format!(
                "RandAugment ({} of timm's increasing operations, magnitude {} +- {}, each with probability 0.5, \
                 {})",
                rand_augment::LAYERS,
                self.randaugment,
                rand_augment::DEVIATION,
                self.interpolation.name()
            ));
        }
        if self.erase > 0.0 {
            parts.push(format!("random erasing by noise ({})", self.erase));
        }
        match (self.mixup > 0.0, self.cutmix > 0.0) {
            (true, true) => parts.push(format!(
                "mixup (alpha {}) or CutMix (alpha {}), one of both for each batch",
                self.mixup, self.cutmix
            )),
            (true, false) => parts.push(format!("mixup (alpha {})", self.mixup)),
            (false, true) => parts.push(format!("CutMix (alpha {})", self.cutmix)),
            (false, false) => {}
        }
        if self.smoothing > 0.0 {
            parts.push(format!("label smoothing {}", self.smoothing));
        }
        if self.drop_path > 0.0 {
            parts.push(format!(
                "drop path up to {} in the last block",
                self.drop_path
            ));
        }
        parts.push(self.optimiser_in_words());
        parts.push(match self.clip {
            0.0 => "no clipping".into(),
            norm => format!("gradients clipped at norm {norm}"),
        });
        if self.warmup_epochs > 0 {
            parts.push(format!("warm-up of {} epochs", self.warmup_epochs));
        }
        let mut cosine = "cosine".to_string();
        if self.moves == Moves::Step {
            cosine += " step by step";
        }
        if self.min_lr > 0.0 {
            cosine += &format!(" to {:e}", self.min_lr);
        }
        parts.push(cosine);
        parts.push(format!("{} epochs", self.epochs));
        parts.push(format!(
            "batch {} (all images where they are fewer; an epoch's last, incomplete batch is left out); test \
             transform, running statistics, last epoch",
            self.batch_size
        ));
        parts.join(", ")
    }

    fn optimiser_in_words(&self) -> String {
        let rate = match self.blr {
            0.0 => format!("lr {}", self.lr),
            blr => format!("lr {blr} x batch / 256"),
        };
        let mut words = match self.optimiser {
            Optimiser::Sgd => format!("SGD {rate} momentum 0.9 wd {}", self.weight_decay),
            Optimiser::Adamw => format!("AdamW {rate} betas 0.9, 0.999 wd {}", self.weight_decay),
        };
        words += match self.decay {
            Decays::All => "",
            Decays::NoVectors => " (not on biases and norms)",
            Decays::NoTokens => " (not on biases, norms, class token and positions)",
        };
        if self.layer_decay < 1.0 {
            words += &format!(", layer decay {}", self.layer_decay);
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Table {
        text.parse().unwrap()
    }

    fn config(set: &[&str]) -> Config {
        let set: Vec<String> = set.iter().map(ToString::to_string).collect();
        Config::parse("", &set).unwrap()
    }

    #[test]
    fn the_protocol_says_what_is_done() {
        let s = FinetuneSettings {
            epochs: 7,
            batch_size: 48,
            lr: 0.03,
            weight_decay: 1e-4,
            ..FinetuneSettings::default()
        };
        let (said, o) = (s.describe(), s.optim(48));
        assert_eq!(o.clip, 0.0);
        let sgd = format!(
            "SGD lr {} momentum {} wd {}, no clipping, cosine, 7 epochs, batch {} ",
            o.lr, o.momentum, o.weight_decay, o.batch_size
        );
        assert!(said.contains(&sgd), "{said}");
        assert!(said.contains("crops (0.08 to 1)"), "{said}");
        for word in [
            "mixup",
            "RandAugment",
            "norm,",
            "erasing",
            "smoothing",
            "drop path",
            "layer decay",
        ] {
            assert!(!said.contains(word), "{word}: {said}");
        }
        let vit = config(&[
            "model.encoder=vit_base",
            "model.image_size=224",
            "model.patch=16",
        ]);
        let said = FinetuneSettings::recipe("mae", &vit).unwrap().describe();
        for words in [
            "mean of the patches' tokens",
            "RandAugment (2 of timm's increasing operations, magnitude 9 +- 0.5",
            "erasing by noise (0.25)",
            "mixup (alpha 0.8) or CutMix (alpha 1)",
            "label smoothing 0.1",
            "drop path up to 0.1",
            "AdamW lr 0.0005 x batch / 256 betas 0.9, 0.999 wd 0.05 (not on biases, norms, class token and positions)",
            "layer decay 0.65",
            "warm-up of 5 epochs, cosine step by step to 1e-6, 100 epochs, batch 1024 ",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }

    #[test]
    fn recipes_are_of_the_encoder_and_its_images() {
        let of = |set: &[&str]| FinetuneSettings::recipe("mae", &config(set));
        let small = of(&["model.encoder=vit_tiny"]).unwrap();
        assert_eq!((small.batch_size, small.layer_decay), (256, 0.75));
        let large = [
            "model.encoder=vit_large",
            "model.image_size=224",
            "model.patch=16",
        ];
        let large = of(&large).unwrap();
        assert_eq!(
            (large.epochs, large.blr, large.layer_decay, large.drop_path),
            (50, 1e-3, 0.75, 0.2)
        );
        let e = of(&["model.encoder=resnet18"]).unwrap_err();
        assert!(
            e.contains("for Vision Transformers, and the encoder is resnet18"),
            "{e}"
        );
        let e = FinetuneSettings::recipe("mat", &config(&[])).unwrap_err();
        assert!(e.contains("did you mean mae?"), "{e}");
        assert_eq!(
            FinetuneSettings::recipe("plain", &config(&[])),
            Ok(FinetuneSettings::default())
        );
    }

    #[test]
    fn what_is_given_wins_and_mistakes_are_named() {
        let mae = FinetuneSettings::recipe("mae", &config(&["model.encoder=vit_tiny"])).unwrap();
        let s = mae.with(&given("lr = 0.01\nepochs = 3")).unwrap();
        assert_eq!((s.optim(512).rate(), s.warmup_epochs), (0.01, 3));
        assert_eq!(mae.optim(512).rate(), 2e-3);
        assert_eq!(mae.with(&given("mixup = 0")).unwrap().mixup, 0.0);
        for (text, want) in [
            ("smoothing = 1", "finetune.smoothing is 1; it must be"),
            ("drop_path = 1.0", "finetune.drop_path is 1; it must be"),
            ("layer_decay = -0.5", "finetune.layer_decay is -0.5"),
            ("blr = -1", "finetune.blr is -1"),
            ("lr = 1\nblr = 1", "give one of them"),
            ("mixupp = 1", "did you mean finetune.mixup?"),
            (
                "warmup_epochs = 200",
                "finetune.warmup_epochs is 200; it must be from 0",
            ),
            (
                "min_lr = 1",
                "finetune.min_lr 1 is more than the learning rate",
            ),
            ("optimiser = \"lars\"", "lars"),
        ] {
            let e = mae.with(&given(text)).unwrap_err();
            assert!(e.contains(want) && !e.contains('\n'), "{text}: {e}");
        }
    }
}
