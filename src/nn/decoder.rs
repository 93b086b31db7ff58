//! The decoder of masked autoencoders (He et al., CVPR 2022): from the tokens of visible patches to the pixels of all.
//! Names of parameters are MAE's. It is a part of the model of its own, which no export of an encoder holds.

use super::backbones::vit::Vit;
use super::layers::Linear;
use super::masking::Masks;
use super::model::{Init, Layout, Part};
use super::net::{Net, Var};
use super::transformer::{Block, LayerNorm, Recompute, Shape, Start};
use crate::graph::{Result, TensorId};
use crate::ops::add_rows::AddRows;
use crate::ops::concat_tokens::ConcatTokens;
use crate::ops::slice_tokens::SliceTokens;
use crate::ops::take_tokens::TakeTokens;

/// Side of images from which on the default decoder is MAE's own.
const LARGE: usize = 128;
/// MAE's decoder: width, blocks, heads.
const OF_MAE: [usize; 3] = [512, 8, 16];
/// The decoder for small images: width, blocks, heads (`IcarusWizard/MAE`, CIFAR-10).
const SMALL: [usize; 3] = [192, 4, 3];

/// The shape of a decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoder {
    /// Numbers of an encoder's token.
    pub from: usize,
    /// Numbers of a token here, a multiple of 4 and of the heads.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden numbers of a block's MLP.
    pub hidden: usize,
    /// Patches of an image.
    pub patches: usize,
    /// Values of a patch.
    pub values: usize,
    /// The mask token has the encoder's width: it stands where patches are hidden before the tokens are brought to the
    /// decoder's width, and not behind that.
    pub mask_before: bool,
    /// What is not kept for the backward pass: as in the encoder.
    pub recompute: Recompute,
}

impl Decoder {
    /// The decoder behind an encoder. Of `sizes` (width, blocks, heads) those that are 0 have their default: 512, 8 and
    /// 16 for images of 128 px and more (MAE), else 192, 4 and 3.
    ///
    /// # Errors
    /// A width that the heads or 4 do not divide.
    pub fn new(vit: &Vit, sizes: [usize; 3], mlp_ratio: f32) -> std::result::Result<Self, String> {
        let default = if vit.image >= LARGE { OF_MAE } else { SMALL };
        let or = |i: usize| if sizes[i] == 0 { default[i] } else { sizes[i] };
        let [dim, depth, heads] = [or(0), or(1), or(2)];
        if !dim.is_multiple_of(heads) {
            let near = (1..=dim).filter(|h| dim.is_multiple_of(*h));
            let near = near.min_by_key(|h| h.abs_diff(heads)).unwrap_or(1);
            return Err(format!(
                "method.decoder_heads {heads} do not divide method.decoder_dim {dim}; {near} heads do"
            ));
        }
        if !dim.is_multiple_of(4) {
            return Err(format!(
                "method.decoder_dim {dim} is no multiple of 4, which its table of sines and cosines needs; {} is",
                dim.next_multiple_of(4)
            ));
        }
        Ok(Self {
            from: vit.dim,
            dim,
            depth,
            heads,
            hidden: ((dim as f32 * mlp_ratio).round() as usize).max(1),
            patches: vit.grid() * vit.grid(),
            values: 3 * vit.patch * vit.patch,
            mask_before: false,
            recompute: vit.recompute,
        })
    }

    /// Declares the decoder's layers.
    pub fn layers(&self, net: &mut Net<'_>) -> DecoderLayers {
        net.part(Part::Decoder, |net| {
            let d = self.dim;
            let embed = Linear::xavier(net, "decoder_embed", [d, self.from], d);
            let of_mask = if self.mask_before { self.from } else { d };
            let token = [1, 1, of_mask];
            let mask_token = net.param("mask_token", &token, Init::Normal(0.02), Layout::Plain);
            let table = [1, 1 + self.patches, d];
            let positions = net
                .frozen(|net| net.param("decoder_pos_embed", &table, Init::SinCos, Layout::Plain));
            let shape = Shape {
                dim: d,
                heads: self.heads,
                hidden: self.hidden,
                start: Start::Whole,
                recompute: self.recompute,
            };
            let blocks = (0..self.depth)
                .map(|i| Block::new(net, &format!("decoder_blocks.{i}"), shape))
                .collect();
            DecoderLayers {
                embed,
                mask_token,
                positions,
                blocks,
                recompute: self.recompute == Recompute::Pointwise,
                norm: LayerNorm::new(net, "decoder_norm", d),
                pred: Linear::xavier(net, "decoder_pred", [self.values, d], self.values),
            }
        })
    }
}

/// A decoder with its parameters. A reconstruction is [`DecoderLayers::embed`], [`DecoderLayers::fill`] and
/// [`DecoderLayers::decode`], in this order, or `fill` first where the mask token has the encoder's width.
#[derive(Clone, Debug)]
pub struct DecoderLayers {
    embed: Linear,
    mask_token: Var,
    positions: Var,
    blocks: Vec<Block>,
    recompute: bool,
    norm: LayerNorm,
    pred: Linear,
}

impl DecoderLayers {
    /// The encoder's tokens [b,t,d] -> as many of the decoder's width.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn embed(&self, net: &mut Net<'_>, tokens: TensorId) -> Result<TensorId> {
        self.embed.call(net, tokens)
    }

    /// A class token and visible patches [b,1+kept,w] -> the class token and all patches in their places [b,1+l,w], the
    /// mask token where a patch is hidden.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn fill(&self, net: &mut Net<'_>, tokens: TensorId, masks: &Masks) -> Result<TensorId> {
        let (count, w) = (net.dims(tokens)[1], net.dims(tokens)[2]);
        let mask_token = net.value(self.mask_token);
        net.labelled("mask_token", |net| {
            let mask_token = net.reshape(mask_token, [w])?;
            let [class, visible] = split(net, tokens, count)?;
            let inputs = [visible, masks.rank, masks.kept, mask_token];
            let all = net.push1(TakeTokens { fill: true }, &inputs)?;
            net.push1(ConcatTokens, &[class, all])
        })
    }

    /// All tokens [b,1+l,d] -> the pixels of all patches [b,l,values].
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn decode(&self, net: &mut Net<'_>, tokens: TensorId) -> Result<TensorId> {
        let (count, d) = (net.dims(tokens)[1], net.dims(tokens)[2]);
        let positions = net.value_if_trained(self.positions)?;
        let positions = net.reshape(positions, [count, d])?;
        let mut x = net.push1(AddRows, &[tokens, positions])?;
        for block in &self.blocks {
            x = block.call(net, x)?;
        }
        // What the class token becomes is not compared with anything.
        let [_, x] = split(net, x, count)?;
        let x = self.norm.call_for_product(net, x, self.recompute)?;
        self.pred.call(net, x)
    }
}

/// The class token [b,1,d] and the other tokens [b,count-1,d].
pub fn split(net: &mut Net<'_>, tokens: TensorId, count: usize) -> Result<[TensorId; 2]> {
    let class = net.push1(SliceTokens { first: 0, count: 1 }, &[tokens])?;
    let rest = SliceTokens {
        first: 1,
        count: count - 1,
    };
    Ok([class, net.push1(rest, &[tokens])?])
}
