//! Masks of image patches (He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022): what an encoder
//! sees of an image, and which patches are hidden.

use super::Net;
use super::backbones::vit::{Vit, VitLayers};
use crate::graph::{Graph, Result, TensorId};
use crate::ops::mask_ranks::{MaskRanks, kept_of};
use crate::ops::take_tokens::TakeTokens;

/// How many patches of each image an encoder sees: `int(l (1 - ratio))`, in f64.
///
/// # Errors
/// A ratio that leaves none, or hides none; says which would do.
pub fn kept(vit: &Vit, ratio: f64) -> std::result::Result<usize, String> {
    let patches = vit.grid() * vit.grid();
    let kept = kept_of(patches, ratio);
    if kept == 0 || kept == patches {
        let what = if kept == 0 { "no patch" } else { "every patch" };
        let most = 1.0 - 1.0 / patches as f64;
        return Err(format!(
            "method.ratio {ratio} keeps {what} of the {patches} that model.patch {} cuts an image of {} px into; a \
             ratio above 0 and up to {:.3} keeps some and hides some",
            vit.patch,
            vit.image,
            // Rounded down, so that the printed number itself does.
            (most * 1e3).floor() / 1e3,
        ));
    }
    Ok(kept)
}

/// Which patches of a batch's images are hidden.
#[derive(Clone, Copy, Debug)]
pub struct Masks {
    /// Each patch's place in the order of its noise, u32 [b,l].
    pub rank: TensorId,
    /// The visible patches in that order, u32 [b,kept].
    pub kept: TensorId,
    /// 1 where a patch is hidden, [b,l].
    pub mask: TensorId,
    /// Hidden patches of all images together.
    pub hidden: usize,
    /// Visible patches of all images together.
    pub visible: usize,
}

impl Masks {
    /// Of noise [b,l]: the `keep` patches of least noise stay.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn of_noise(g: &mut Graph, noise: TensorId, keep: usize) -> Result<Self> {
        let all = g.ty(noise).elements();
        let images = g.dims(noise)[0];
        let out = g.scope("mask", |g| g.push(MaskRanks { keep }, &[noise]))?;
        Ok(Self {
            rank: out[0],
            kept: out[1],
            mask: out[2],
            hidden: all - images * keep,
            visible: images * keep,
        })
    }

    /// Images [b,s,s,3] -> the encoder's tokens [b,1+kept,d] of the visible patches alone, behind its last norm: the
    /// class token, then patches in the order of their noise. Positions are added before patches are taken out.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn encode(&self, net: &mut Net<'_>, vit: &VitLayers, images: TensorId) -> Result<TensorId> {
        let x = vit.embed(net, images)?;
        let op = TakeTokens { fill: false };
        let x = net.labelled("mask", |net| net.push1(op, &[x, self.kept, self.rank]))?;
        vit.encode(net, x)
    }
}
