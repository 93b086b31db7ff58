//! The graph of fine-tuning: images, what is drawn for them, encoder and classifier.

use super::settings::{FinetuneSettings, Pooling};
use crate::config::Config;
use crate::data::rand_augment;
use crate::downstream::{DownstreamError, Result};
use crate::graph::{Graph, TensorId, TensorType};
use crate::nn::layers::Linear;
use crate::nn::transformer::LayerNorm;
use crate::nn::{Backbone, Mode, Model, Net, Part};
use crate::ops::augment::{Augment, words};
use crate::ops::mix_images::MixImages;
use crate::ops::pixel_noise::PixelNoise;
use crate::ops::rand_augment::RandAugment;
use crate::reference::augment::ROW;
use crate::reference::rand_augment::ENTRY;
use crate::reference::{mix_images, pixel_noise};

/// Residual branches of a block.
pub(super) const BRANCHES: usize = 2;

/// What is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'a> {
    /// The encoder and the normalisation of images.
    pub config: &'a Config,
    /// How to fine-tune.
    pub settings: &'a FinetuneSettings,
    /// Height and width of the stored images.
    pub side: (usize, usize),
    /// Images at once.
    pub batch: usize,
    /// Classes.
    pub classes: usize,
}

/// Inputs of erasing: words and levels of the noise, and a box an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Erasing {
    pub words: TensorId,
    pub levels: TensorId,
    pub boxes: TensorId,
}

/// The graph's inputs and its result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Built {
    /// Packed images.
    pub images: TensorId,
    /// What is drawn for a view of each.
    pub views: TensorId,
    /// RandAugment's operations on each image, where there are any.
    pub operations: Option<TensorId>,
    /// What is erased, where anything is.
    pub erasing: Option<Erasing>,
    /// How images are mixed, where they are.
    pub mixing: Option<TensorId>,
    /// Factors of residual branches [1,branches,batch], where any are dropped.
    pub dropped: Option<TensorId>,
    /// Logits [batch,classes].
    pub logits: TensorId,
}

impl Plan<'_> {
    /// Blocks of the encoder.
    pub fn blocks(&self) -> usize {
        self.config.backbone().map_or(0, |b| b.blocks())
    }

    /// Appends images -> logits: for training with all that is drawn and the batch's statistics, else by the running
    /// ones.
    ///
    /// # Errors
    /// The encoder has no branches to drop, or no patches.
    pub fn build(&self, g: &mut Graph, m: &mut Model, mode: Mode) -> Result<Built> {
        let (s, size, b) = (self.settings, self.config.model.image_size, self.batch);
        let training = mode == Mode::Train;
        let images = g.input(
            "images",
            TensorType::u32([b, words(self.side.0, self.side.1)]),
        );
        let views = g.input("views", TensorType::f32([b, ROW]));
        let op = Augment {
            height: self.side.0,
            width: self.side.1,
            size,
            filter: s.interpolation,
            blur: false,
            mean: self.config.augment.mean,
            std: self.config.augment.std,
        };
        let (mut x, operations) = match training && s.randaugment > 0.0 {
            true => {
                let pixels = Augment {
                    mean: [0.0; 3],
                    std: [1.0; 3],
                    ..op
                };
                let x = g.push1(pixels, &[images, views])?;
                let ty = TensorType::f32([b, rand_augment::LAYERS * ENTRY]);
                let table = g.input("operations", ty);
                let change = RandAugment {
                    layers: rand_augment::LAYERS,
                    filter: op.filter,
                    mean: op.mean,
                    std: op.std,
                };
                (g.push1(change, &[x, table])?, Some(table))
            }
            false => (g.push1(op, &[images, views])?, None),
        };
        let erasing = match training && s.erase > 0.0 {
            true => {
                let erasing = Erasing {
                    words: g.input("noise", TensorType::u32([b, pixel_noise::WORDS])),
                    levels: g.input("noise levels", TensorType::f32([b])),
                    boxes: g.input("erased boxes", TensorType::f32([b, mix_images::ROW])),
                };
                let shape = [size, size, 3].into();
                let noise = g.push1(PixelNoise { shape }, &[erasing.words, erasing.levels])?;
                let erase = MixImages { reversed: false };
                x = g.push1(erase, &[x, noise, erasing.boxes])?;
                Some(erasing)
            }
            false => None,
        };
        let mixing = match training && s.mixing().on() {
            true => {
                let table = g.input("mixing", TensorType::f32([b, mix_images::ROW]));
                x = g.push1(MixImages { reversed: true }, &[x, x, table])?;
                Some(table)
            }
            false => None,
        };
        let encoder = self.config.backbone()?;
        let mut net = Net::new(g, m, mode);
        let branches = BRANCHES * encoder.blocks();
        let dropped = (training && s.drop_path > 0.0)
            .then(|| net.input("drop path", TensorType::f32([1, branches.max(1), b])));
        let f = match dropped {
            Some(factors) => {
                let (f, taken) =
                    net.dropping(factors, |net| self.feature(net, encoder.as_ref(), x));
                if taken == 0 {
                    return Err(self.unfit("drop_path", "has no branches to leave out"));
                }
                f?
            }
            None => self.feature(&mut net, encoder.as_ref(), x)?,
        };
        let classifier = Linear::classifier(&mut net, [self.classes, encoder.width()]);
        let logits = classifier.call(&mut net, f)?;
        Ok(Built {
            images,
            views,
            operations,
            erasing,
            mixing,
            dropped,
            logits,
        })
    }

    fn feature(&self, net: &mut Net<'_>, encoder: &dyn Backbone, x: TensorId) -> Result<TensorId> {
        // Positions that were fixed until now are trained too.
        let layers = net.thawed(|net| encoder.layers(net));
        match self.settings.pool {
            Pooling::Own => Ok(layers.call(net, x)?.pooled),
            Pooling::Mean => {
                let mean = layers.mean_of_patches(net, x)?;
                let mean = mean.ok_or_else(|| self.unfit("pool", "has no patches"))?;
                let d = encoder.width();
                let norm = net.part(Part::Classifier, |net| LayerNorm::new(net, "norm", d));
                Ok(norm.call(net, mean)?)
            }
        }
    }

    fn unfit(&self, key: &str, why: &str) -> DownstreamError {
        DownstreamError::Request(format!(
            "finetune.{key} is for Vision Transformers; {} {why}",
            self.config.model.encoder
        ))
    }
}
