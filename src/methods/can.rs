//! CAN (Mishra et al., "A simple, efficient and scalable contrastive masked autoencoder for learning visual
//! representations", 2022): contrast, reconstruction and prediction of noise, of two noised masked views; plain and
//! with AMCL.

use super::draws::Distribution;
use super::loss::{Amcl, LossOutput, Plain, RECONSTRUCTION, reconstruction};
use super::recipe::{Given, PairMatrix};
use super::{
    AllPairs, Batch, Diagnostics, Draws, Embedded, Method, Numbers, Own, Recipe, Reconstructed,
    Reconstructs, Spec, SplitLoss, Temperatures, Views, embed_and_loss, pair_temperatures,
};
use crate::graph::{Result, TensorId};
use crate::nn::backbones::vit::{Vit, mean_behind_class};
use crate::nn::decoder::{Decoder, DecoderLayers, split};
use crate::nn::heads::Mlp;
use crate::nn::layers::Linear;
use crate::nn::masking::{self, Masks};
use crate::nn::{Backbone, Net, Part};
use crate::ops::concat_tokens::ConcatTokens;
use crate::ops::global_avg_pool::GlobalAvgPool;
use crate::ops::level_embedding::LevelEmbedding;
use crate::ops::pixel_noise::PixelNoise;
use crate::settings::{above, between};
use serde::{Deserialize, Serialize};

/// Which tokens are told how noisy their view is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseTo {
    /// Every token of the encoder, before the decoder (the authors' code).
    #[default]
    Visible,
    /// Every patch, hidden ones too, but not the class token (`bwconrad/can`). The mask token then has the encoder's
    /// width.
    AllPatches,
}

/// What hidden patches are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The view.
    #[default]
    Clean,
    /// The view with its noise (the authors' code).
    Noisy,
}

/// What the heads get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The mean over the class token and the visible patches (the authors' code).
    #[default]
    MeanAll,
    /// The mean over the visible patches (`bwconrad/can`).
    MeanPatches,
}

/// Weights of the terms of a loss.
const SHARE: crate::settings::Range = between(0.0, 1e6);

crate::section! {
    /// Settings of `[method]` for CAN.
    Settings {
        /// Share of the patches that is hidden; of l patches int(l (1 - ratio)) stay.
        ratio: f64 = 0.5 => between(0.0, 1.0),
        /// Largest noise level. Each view has one of its own, uniform from 0; pixels are normalised before.
        sigma_max: f32 = 0.05 => between(0.0, 1e3),
        /// Numbers that embed a noise level, an even number.
        level_dim: usize = 128 => between(4.0, 16384.0),
        /// Who gets the embedded noise level: `visible` (all tokens of the encoder) or `all_patches` (hidden ones too).
        noise_to: NoiseTo = NoiseTo::Visible,
        /// What hidden patches are compared with: the `clean` view or the `noisy` one.
        target: Target = Target::Clean,
        /// Hidden patches have mean 0 and deviation 1 as targets, each by itself. The noise is left as it is.
        norm_pix: bool = true,
        /// What the heads get: `mean_all` (class token and visible patches) or `mean_patches`.
        pool: Pool = Pool::MeanAll,
        /// Weight of the contrast of the two views.
        w_contrast: f64 = 0.03 => SHARE,
        /// Weight of the hidden patches' error.
        w_recon: f64 = 0.67 => SHARE,
        /// Weight of the noise's error, on visible patches.
        w_noise: f64 = 0.3 => SHARE,
        /// Numbers of a token in the decoder; 0: 512 for images of 128 px and more, else 192. The heads and 4 divide
        /// it.
        decoder_dim: usize = 0 => between(0.0, 16384.0),
        /// Blocks of the decoder; 0: 8 for images of 128 px and more, else 4.
        decoder_depth: usize = 0 => between(0.0, 256.0),
        /// Attention heads of the decoder; 0: 16 for images of 128 px and more, else 3.
        decoder_heads: usize = 0 => between(0.0, 256.0),
        /// Hidden numbers of a decoder block's MLP for each of a token's.
        decoder_mlp_ratio: f32 = 4.0 => above(0.0).to(64.0),
    }
}

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct Can {
    /// Encoder.
    pub encoder: Vit,
    /// Decoder, of hidden pixels and of noise.
    pub decoder: Decoder,
    /// Projection heads (one when plain).
    pub projector: Mlp,
    /// Patches of a view that the encoder sees.
    pub keep: usize,
    /// The method's own settings.
    pub settings: Settings,
    /// The AMCL loss, Eq. (2.4); `None`: NT-Xent at `temperature`.
    pub amcl: Option<Amcl>,
    /// Temperature of plain NT-Xent.
    pub temperature: Plain,
    /// How the loss over all pairs is computed.
    pub pairs: AllPairs,
}

/// Two noised masked views of each image, as tensors of a graph: rows 0..b are the first views.
#[derive(Clone, Copy, Debug)]
pub struct Noised {
    /// The views without noise [2b,s,s,3].
    pub images: TensorId,
    /// The noise that is added to them, alike.
    pub noise: TensorId,
    /// Its level, the deviation [2b].
    pub level: TensorId,
    /// The numbers whose order hides patches [2b,l].
    pub mask: TensorId,
}

/// What is made of the views.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// The views with their noise [2b,s,s,3].
    pub noisy: TensorId,
    /// The encoder's tokens of the visible patches [2b,1+kept,d].
    pub latent: TensorId,
    /// Their mean [2b,d].
    pub pooled: TensorId,
    /// Embeddings [heads,2b,d'].
    pub z: TensorId,
    /// What the decoder makes of all patches [2b,l,3pp].
    pub pred: TensorId,
    /// Which are hidden.
    pub masks: Masks,
    /// The mean square error over hidden patches [1].
    pub reconstruction: TensorId,
    /// That of the noise over visible patches [1].
    pub noise: TensorId,
}

/// The method for configurations.
pub static SPEC: Spec = Spec {
    recipe: &[
        "model.encoder=vit_tiny",
        "optim.name=adamw",
        "optim.lr=0.0003",
    ],
    amcl: true,
    couples_batch: true,
    needs_vit: true,
    has_temperature: true,
    safeguards,
    check: |r, encoder| Can::new(r, encoder.backbone).map(drop),
    pairs: |r| Some(PairMatrix::of_views(r)),
    ..Spec::new::<Settings>(
        "can",
        "CAN",
        "two noised, masked views are alike, hidden pixels and the noise are predicted",
        |r, encoder| Ok(Box::new(Can::new(r, encoder.as_ref())?)),
    )
};

/// AMCL has the values that [`Recipe::steady_temperatures`] sets.
fn safeguards(r: &mut Recipe, given: Given<'_>) {
    r.steady_temperatures(given);
}

impl Can {
    /// The method of a recipe and an encoder.
    ///
    /// # Errors
    /// No Vision Transformer, or settings that do not go together, in words.
    pub fn new(r: &Recipe, encoder: &dyn Backbone) -> std::result::Result<Self, String> {
        let s = r.own::<Settings>()?;
        let vit = encoder.vit().ok_or_else(|| SPEC.without_vit())?;
        if !s.level_dim.is_multiple_of(2) {
            return Err(format!(
                "method.level_dim {} is odd; a noise level is embedded in pairs of a sine and a cosine",
                s.level_dim
            ));
        }
        let sizes = [s.decoder_dim, s.decoder_depth, s.decoder_heads];
        let decoder = Decoder {
            mask_before: s.noise_to == NoiseTo::AllPatches,
            ..Decoder::new(vit, sizes, s.decoder_mlp_ratio)?
        };
        Ok(Self {
            encoder: vit.clone(),
            decoder,
            projector: r.projector(false),
            keep: masking::kept(vit, s.ratio)?,
            settings: s,
            amcl: r.amcl(),
            temperature: r.temperature(),
            pairs: AllPairs::of(r),
        })
    }

    /// Appends all that concerns no other image: embeddings, and the terms of reconstruction and noise.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn parts(&self, net: &mut Net<'_>, views: Noised) -> Result<Parts> {
        let s = &self.settings;
        let encoder = net.part(Part::Encoder, |net| self.encoder.declare(net));
        let decoder = self.decoder.layers(net);
        let levels = LevelMlp::new(net, [s.level_dim, self.encoder.dim]);
        let width = self.encoder.dim;
        let heads = net.xavier(|net| self.projector.layers(net, Part::Projector, width));

        let noisy = net.add(views.images, views.noise)?;
        let masks = Masks::of_noise(net, views.mask, self.keep)?;
        let latent = masks.encode(net, &encoder, noisy)?;
        let pooled = pooled(net, latent, s.pool)?;
        let z = heads.call(net, pooled)?;

        let level = levels.call(net, views.level, s.level_dim)?;
        let pred = self.decode(net, &decoder, (latent, &masks), level)?;
        let compared = match s.target {
            Target::Clean => views.images,
            Target::Noisy => noisy,
        };
        let patch = self.encoder.patch;
        let target = reconstruction::pixel_target(net, compared, patch, s.norm_pix)?;
        let noise = reconstruction::pixel_target(net, views.noise, patch, false)?;
        Ok(Parts {
            noisy,
            latent,
            pooled,
            z,
            pred,
            masks,
            reconstruction: reconstruction::hidden(net, pred, target, &masks)?,
            noise: reconstruction::visible(net, pred, noise, &masks)?,
        })
    }

    /// Visible tokens and embedded levels [2b,d] -> the pixels of all patches.
    fn decode(
        &self,
        net: &mut Net<'_>,
        decoder: &DecoderLayers,
        (latent, masks): (TensorId, &Masks),
        level: TensorId,
    ) -> Result<TensorId> {
        let x = match self.settings.noise_to {
            NoiseTo::Visible => {
                let x = add_to_tokens(net, latent, level)?;
                let x = decoder.embed(net, x)?;
                decoder.fill(net, x, masks)?
            }
            NoiseTo::AllPatches => {
                let x = decoder.fill(net, latent, masks)?;
                let count = net.dims(x)[1];
                let [class, patches] = split(net, x, count)?;
                let patches = add_to_tokens(net, patches, level)?;
                let x = net.push1(ConcatTokens, &[class, patches])?;
                decoder.embed(net, x)?
            }
        };
        decoder.decode(net, x)
    }

    /// The terms of parts by themselves, weighed.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn own(&self, net: &mut Net<'_>, parts: &Parts) -> Result<Own> {
        let s = &self.settings;
        let reconstruction = net.scale(parts.reconstruction, s.w_recon)?;
        let noise = net.scale(parts.noise, s.w_noise)?;
        Ok(Own {
            loss: net.add(reconstruction, noise)?,
            terms: vec![
                (RECONSTRUCTION, parts.reconstruction),
                ("noise", parts.noise),
            ],
        })
    }

    /// The views of a batch, with noise drawn on the device.
    fn noised(&self, net: &mut Net<'_>, batch: &Batch) -> Result<Noised> {
        let images = batch.views[0];
        let dims = net.dims(images).to_vec();
        let level = net.reshape(batch.numbers[1], [dims[0]])?;
        let shape = dims[1..].into();
        let noise = net.labelled("noise", |net| {
            net.push1(PixelNoise { shape }, &[batch.streams[0], level])
        })?;
        Ok(Noised {
            images,
            noise,
            level,
            mask: batch.numbers[0],
        })
    }
}

/// The mean of tokens [b,n,d]: [b,d].
fn pooled(net: &mut Net<'_>, tokens: TensorId, pool: Pool) -> Result<TensorId> {
    let [b, count, d] = [0, 1, 2].map(|i| net.dims(tokens)[i]);
    match pool {
        Pool::MeanAll => {
            let grid = net.reshape(tokens, [b, count, 1, d])?;
            net.push1(GlobalAvgPool, &[grid])
        }
        Pool::MeanPatches => mean_behind_class(net, tokens),
    }
}

/// x [b,n,d] plus v [b,d], the same for all tokens of an image.
fn add_to_tokens(net: &mut Net<'_>, x: TensorId, v: TensorId) -> Result<TensorId> {
    let (b, n, d) = (net.dims(x)[0], net.dims(x)[1], net.dims(x)[2]);
    let v = net.reshape(v, [b, 1, d])?;
    let ones = net.constant([1, n, 1], 1.0)?;
    let v = net.matmul(ones, v)?;
    net.add(x, v)
}

/// What tells the decoder of the noise level: its sines and cosines through Linear-ReLU-Linear.
struct LevelMlp([Linear; 2]);

impl LevelMlp {
    /// From `from` sines and cosines to the width of a token.
    fn new(net: &mut Net<'_>, [from, to]: [usize; 2]) -> Self {
        net.part(Part::Decoder, |net| {
            net.scope("noise_pe_mlp", |net| {
                let first = Linear::xavier(net, "0", [to, from], to);
                Self([first, Linear::xavier(net, "2", [to, to], to)])
            })
        })
    }

    /// Levels [b] -> [b,d].
    fn call(&self, net: &mut Net<'_>, levels: TensorId, dim: usize) -> Result<TensorId> {
        let x = net.push1(LevelEmbedding { dim }, &[levels])?;
        let x = self.0[0].call_relu(net, x)?;
        self.0[1].call(net, x)
    }
}

impl Method for Can {
    fn encoder(&self) -> &dyn Backbone {
        &self.encoder
    }

    fn draws(&self) -> Draws {
        let numbers = |name, each, most| Numbers {
            name,
            each,
            distribution: Distribution::Uniform(0.0, most),
        };
        Draws {
            numbers: vec![
                numbers("mask", self.decoder.patches, 1.0),
                numbers("noise level", 1, self.settings.sigma_max),
            ],
            streams: 1,
            ..Draws::views(Views::TwoStacked)
        }
    }

    fn build(&self, net: &mut Net<'_>, batch: &Batch) -> Result<LossOutput> {
        embed_and_loss(self, net, batch)
    }

    fn split(&self) -> Option<&dyn SplitLoss> {
        Some(self)
    }

    fn diagnostics(&self) -> Option<&dyn Diagnostics> {
        Some(self)
    }

    fn reconstructs(&self) -> Option<&dyn Reconstructs> {
        Some(self)
    }
}

impl Reconstructs for Can {
    fn reconstructed(&self, net: &mut Net<'_>, batch: &Batch) -> Result<Reconstructed> {
        let views = self.noised(net, batch)?;
        let parts = self.parts(net, views)?;
        Ok(Reconstructed {
            seen: parts.noisy,
            target: match self.settings.target {
                Target::Clean => views.images,
                Target::Noisy => parts.noisy,
            },
            pred: parts.pred,
            mask: parts.masks.mask,
            patch: self.encoder.patch,
            norm_pix: self.settings.norm_pix,
        })
    }
}

impl SplitLoss for Can {
    fn embed(&self, net: &mut Net<'_>, batch: &Batch) -> Result<Embedded> {
        let views = self.noised(net, batch)?;
        let parts = self.parts(net, views)?;
        Ok(Embedded {
            features: vec![parts.pooled],
            z: vec![parts.z],
            own: Some(self.own(net, &parts)?),
        })
    }

    fn shares_rows(&self) -> bool {
        self.pairs.share_rows
    }

    fn loss(&self, net: &mut Net<'_>, z: &[TensorId]) -> Result<LossOutput> {
        let amcl = self.amcl.as_ref();
        let out = self.pairs.loss(net, z[0], &self.temperature, amcl)?;
        Ok(LossOutput {
            loss: net.scale(out.loss, self.settings.w_contrast)?,
            terms: vec![("contrast", out.loss)],
            ..out
        })
    }
}

impl Diagnostics for Can {
    fn projector(&self) -> &Mlp {
        &self.projector
    }

    fn temperatures(&self) -> std::result::Result<(Amcl, Temperatures), &'static str> {
        pair_temperatures(self.amcl.as_ref(), Temperatures::AllPairs)
    }
}
