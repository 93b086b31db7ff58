//! Masked autoencoder (MAE; He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022).

use super::draws::Distribution;
use super::loss::{LossOutput, RECONSTRUCTION, reconstruction};
use super::{Batch, Draws, Method, Numbers, Recipe, Reconstructed, Reconstructs, Spec, Views};
use crate::graph::{Result, TensorId};
use crate::nn::backbones::vit::Vit;
use crate::nn::decoder::Decoder;
use crate::nn::masking::{self, Masks};
use crate::nn::{Backbone, Net, Part};
use crate::settings::between;

crate::section! {
    /// Settings of `[method]` for a masked autoencoder.
    Settings {
        /// Share of the patches that is hidden; of l patches int(l (1 - ratio)) stay.
        ratio: f64 = 0.75 => between(0.0, 1.0),
        /// Patches to be predicted have mean 0 and deviation 1, each by itself.
        norm_pix: bool = true,
        /// Numbers of a token in the decoder; 0: 512 for images of 128 px and more, else 192. The heads and 4 divide
        /// it.
        decoder_dim: usize = 0 => between(0.0, 16384.0),
        /// Blocks of the decoder; 0: 8 for images of 128 px and more, else 4.
        decoder_depth: usize = 0 => between(0.0, 256.0),
        /// Attention heads of the decoder; 0: 16 for images of 128 px and more, else 3.
        decoder_heads: usize = 0 => between(0.0, 256.0),
        /// Hidden numbers of a decoder block's MLP for each of a token's.
        decoder_mlp_ratio: f32 = 4.0 => between(0.01, 64.0),
    }
}

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct Mae {
    /// Encoder.
    pub encoder: Vit,
    /// Decoder.
    pub decoder: Decoder,
    /// Patches of an image that the encoder sees.
    pub keep: usize,
    /// Targets have mean 0 and deviation 1, patch by patch.
    pub norm_pix: bool,
}

/// A batch's reconstruction.
#[derive(Clone, Copy, Debug)]
pub struct Reconstruction {
    /// The encoder's tokens of the visible patches [b,1+kept,d].
    pub latent: TensorId,
    /// What the decoder makes of all patches [b,l,3pp].
    pub pred: TensorId,
    /// What it should make of them.
    pub target: TensorId,
    /// Which are hidden.
    pub masks: Masks,
    /// The mean square error over hidden patches [1].
    pub loss: TensorId,
}

/// The method for configurations.
pub static SPEC: Spec = Spec {
    recipe: &[
        "model.encoder=vit_tiny",
        "optim.name=adamw",
        "optim.lr=0.0003",
    ],
    has_heads: false,
    needs_vit: true,
    check: |r, encoder| Mae::new(r, encoder.backbone).map(drop),
    ..Spec::new::<Settings>(
        "mae",
        "MAE",
        "pixels of hidden patches are predicted from the visible ones",
        |r, encoder| Ok(Box::new(Mae::new(r, encoder.as_ref())?)),
    )
};

impl Mae {
    /// The method of a recipe and an encoder.
    ///
    /// # Errors
    /// No Vision Transformer, or settings that do not go together, in words.
    pub fn new(r: &Recipe, encoder: &dyn Backbone) -> std::result::Result<Self, String> {
        let s = r.own::<Settings>()?;
        let vit = encoder.vit().ok_or_else(|| SPEC.without_vit())?;
        let sizes = [s.decoder_dim, s.decoder_depth, s.decoder_heads];
        Ok(Self {
            encoder: vit.clone(),
            decoder: Decoder::new(vit, sizes, s.decoder_mlp_ratio)?,
            keep: masking::kept(vit, s.ratio)?,
            norm_pix: s.norm_pix,
        })
    }

    /// Appends the reconstruction of images [b,s,s,3], whose patches are hidden by noise [b,l].
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn reconstruct(
        &self,
        net: &mut Net<'_>,
        images: TensorId,
        noise: TensorId,
    ) -> Result<Reconstruction> {
        let encoder = net.part(Part::Encoder, |net| self.encoder.declare(net));
        let decoder = self.decoder.layers(net);
        let masks = Masks::of_noise(net, noise, self.keep)?;
        let latent = masks.encode(net, &encoder, images)?;
        let x = decoder.embed(net, latent)?;
        let x = decoder.fill(net, x, &masks)?;
        let pred = decoder.decode(net, x)?;
        let target = reconstruction::pixel_target(net, images, self.encoder.patch, self.norm_pix)?;
        Ok(Reconstruction {
            latent,
            pred,
            target,
            masks,
            loss: reconstruction::hidden(net, pred, target, &masks)?,
        })
    }
}

impl Method for Mae {
    fn encoder(&self) -> &dyn Backbone {
        &self.encoder
    }

    fn draws(&self) -> Draws {
        let patches = self.decoder.patches;
        Draws {
            numbers: vec![Numbers {
                name: "mask",
                each: patches,
                distribution: Distribution::Uniform(0.0, 1.0),
            }],
            ..Draws::views(Views::One)
        }
    }

    fn build(&self, net: &mut Net<'_>, batch: &Batch) -> Result<LossOutput> {
        let r = self.reconstruct(net, batch.views[0], batch.numbers[0])?;
        Ok(LossOutput {
            terms: vec![(RECONSTRUCTION, r.loss)],
            ..LossOutput::of_loss(r.loss)
        })
    }

    fn reconstructs(&self) -> Option<&dyn Reconstructs> {
        Some(self)
    }
}

impl Reconstructs for Mae {
    fn reconstructed(&self, net: &mut Net<'_>, batch: &Batch) -> Result<Reconstructed> {
        let images = batch.views[0];
        let r = self.reconstruct(net, images, batch.numbers[0])?;
        Ok(Reconstructed {
            seen: images,
            target: images,
            pred: r.pred,
            mask: r.masks.mask,
            patch: self.encoder.patch,
            norm_pix: self.norm_pix,
        })
    }
}
