//! The layers of a Vision Transformer: what is declared, and how images become tokens and features.

use super::{Pool, Positions, Vit};
use crate::graph::{Result, TensorId};
use crate::nn::backbones::{Features, Network};
use crate::nn::model::{Init, Layout};
use crate::nn::net::Var;
use crate::nn::transformer::{Block, LayerNorm, Shape, Start};
use crate::nn::{Net, Precision, halved};
use crate::ops::add_rows::AddRows;
use crate::ops::concat_tokens::ConcatTokens;
use crate::ops::gemm::Gemm;
use crate::ops::global_avg_pool::GlobalAvgPool;
use crate::ops::slice_tokens::SliceTokens;
use crate::ops::swap_axes::SwapAxes;

impl Vit {
    /// Declares the encoder's layers.
    pub fn declare(&self, net: &mut Net<'_>) -> VitLayers {
        let d = self.dim;
        let patches = PatchEmbedding::new(net, self);
        // MAE's code, and MoCo v3's, which starts the class token as hardly more than zero.
        let deviation = if self.frozen_patches { 1e-6 } else { 0.02 };
        let class = net.param(
            "cls_token",
            &[1, 1, d],
            Init::Normal(deviation),
            Layout::Plain,
        );
        let dims = [1, 1 + self.grid() * self.grid(), d];
        let positions = match self.positions {
            Positions::Sincos => {
                net.frozen(|net| net.param("pos_embed", &dims, Init::SinCos, Layout::Plain))
            }
            Positions::Learned => net.param("pos_embed", &dims, Init::Normal(0.02), Layout::Plain),
        };
        let shape = Shape {
            dim: d,
            heads: self.heads,
            hidden: self.hidden,
            start: match self.frozen_patches {
                true => Start::Thirds,
                false => Start::Whole,
            },
            recompute: self.recompute,
        };
        let blocks = (0..self.depth).map(|i| {
            let name = format!("blocks.{i}");
            net.layer(i + 1, |net| Block::new(net, &name, shape))
        });
        let blocks = blocks.collect();
        let norm = net.layer(self.depth + 1, |net| LayerNorm::new(net, "norm", d));
        VitLayers {
            patches,
            class,
            positions,
            blocks,
            norm,
            pool: self.pool,
        }
    }
}

/// Patches of images as tokens: a convolution whose stride is its kernel, as a product.
#[derive(Clone, Debug)]
struct PatchEmbedding {
    weight: Var,
    bias: Var,
    patch: usize,
}

impl PatchEmbedding {
    fn new(net: &mut Net<'_>, vit: &Vit) -> Self {
        let (p, d) = (vit.patch, vit.dim);
        let fan_in = 3 * p * p;
        let bound = Init::Uniform((6.0 / (fan_in + d) as f32).sqrt());
        // MAE leaves the bias as PyTorch's convolutions have it. MoCo v3 freezes the projection and sets it to zero.
        let bias = match vit.frozen_patches {
            true => Init::Constant(0.0),
            false => Init::Uniform(1.0 / (fan_in as f32).sqrt()),
        };
        let declare = |net: &mut Net<'_>| {
            net.scope("patch_embed.proj", |net| Self {
                weight: net.param("weight", &[d, p, p, 3], bound, Layout::Conv),
                bias: net.param("bias", &[d], bias, Layout::Plain),
                patch: p,
            })
        };
        match vit.frozen_patches {
            true => net.frozen(declare),
            false => declare(net),
        }
    }

    /// Images [n,s,s,3] -> tokens [n,l,d], l patches row by row.
    fn call(&self, net: &mut Net<'_>, images: TensorId) -> Result<TensorId> {
        let (n, p) = (net.dims(images)[0], self.patch);
        let (rows, columns) = (net.dims(images)[1] / p, net.dims(images)[2] / p);
        let [w, b] = [self.weight, self.bias].map(|v| net.value_if_trained(v));
        let (w, b) = (w?, b?);
        let d = net.dims(w)[0];
        net.labelled("patch_embed", |net| {
            // Rows of a patch stand apart by a row of the image.
            let cut = SwapAxes {
                axes: [n * rows, p, columns, p * 3],
                out: [n, rows * columns, p * p * 3].into(),
            };
            let x = net.push1(cut, &[images])?;
            let w = net.reshape(w, [d, p * p * 3])?;
            let operands = match net.precision() {
                Precision::Mixed => [halved(net, x)?, halved(net, w)?, b],
                Precision::F32 => [x, w, b],
            };
            let product = Gemm {
                trans_b: true,
                bias: true,
                ..Gemm::default()
            };
            net.push1(product, &operands)
        })
    }
}

/// A Vision Transformer's layers, which methods with masks call one by one.
#[derive(Clone, Debug)]
pub struct VitLayers {
    patches: PatchEmbedding,
    class: Var,
    positions: Var,
    blocks: Vec<Block>,
    norm: LayerNorm,
    pool: Pool,
}

impl VitLayers {
    /// Images [n,s,s,3] -> the patches' tokens with their positions [n,l,d], before any is left out.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn embed(&self, net: &mut Net<'_>, images: TensorId) -> Result<TensorId> {
        let x = self.patches.call(net, images)?;
        let (l, d) = (net.dims(x)[1], net.dims(x)[2]);
        let positions = net.value_if_trained(self.positions)?;
        let of_patches = net.push1(SliceTokens { first: 1, count: l }, &[positions])?;
        let of_patches = net.reshape(of_patches, [l, d])?;
        net.push1(AddRows, &[x, of_patches])
    }

    /// Tokens of patches [n,k,d], all or some -> all of the encoder's tokens [n,1+k,d] behind the last norm, the class
    /// token first.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn encode(&self, net: &mut Net<'_>, tokens: TensorId) -> Result<TensorId> {
        let x = self.through_blocks(net, tokens)?;
        self.norm(net, x)
    }

    /// The last norm of tokens, or of their mean: x [..,d].
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn norm(&self, net: &mut Net<'_>, x: TensorId) -> Result<TensorId> {
        self.norm.call(net, x)
    }

    /// [`VitLayers::encode`] without the last norm.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn through_blocks(&self, net: &mut Net<'_>, tokens: TensorId) -> Result<TensorId> {
        self.after(net, tokens, self.blocks.len())
    }

    /// All of the encoder's tokens [n,1+k,d] behind its first blocks.
    fn after(&self, net: &mut Net<'_>, tokens: TensorId, blocks: usize) -> Result<TensorId> {
        let d = net.dims(tokens)[2];
        let positions = net.value_if_trained(self.positions)?;
        let place = net.push1(SliceTokens { first: 0, count: 1 }, &[positions])?;
        let class = net.value(self.class);
        let class = net.add(class, place)?;
        let class = net.reshape(class, [1, d])?;
        let mut x = net.push1(ConcatTokens, &[class, tokens])?;
        for block in &self.blocks[..blocks] {
            x = block.call(net, x)?;
        }
        Ok(x)
    }

    /// The feature [n,d] of all of the encoder's tokens.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn pool(&self, net: &mut Net<'_>, tokens: TensorId) -> Result<TensorId> {
        Self::pooled_by(self.pool, net, tokens)
    }

    /// As [`VitLayers::pool`], by another way of pooling than the configuration's.
    fn pooled_by(pool: Pool, net: &mut Net<'_>, tokens: TensorId) -> Result<TensorId> {
        let (n, d) = (net.dims(tokens)[0], net.dims(tokens)[2]);
        match pool {
            Pool::Token => {
                let token = net.push1(SliceTokens { first: 0, count: 1 }, &[tokens])?;
                net.reshape(token, [n, d])
            }
            Pool::Mean => mean_behind_class(net, tokens),
        }
    }
}

/// The mean over all tokens [n,1+k,d] but the first: [n,d].
///
/// # Errors
/// Shapes that do not fit.
pub fn mean_behind_class(net: &mut Net<'_>, tokens: TensorId) -> Result<TensorId> {
    let [n, count, d] = [0, 1, 2].map(|i| net.dims(tokens)[i]);
    let of_patches = SliceTokens {
        first: 1,
        count: count - 1,
    };
    let patches = net.push1(of_patches, &[tokens])?;
    let grid = net.reshape(patches, [n, count - 1, 1, d])?;
    net.push1(GlobalAvgPool, &[grid])
}

impl Network for VitLayers {
    fn call(&self, net: &mut Net<'_>, images: TensorId) -> Result<Features> {
        let x = self.embed(net, images)?;
        let tokens = self.encode(net, x)?;
        Ok(Features {
            pooled: self.pool(net, tokens)?,
            tokens: Some(tokens),
        })
    }

    fn mean_of_patches(&self, net: &mut Net<'_>, images: TensorId) -> Result<Option<TensorId>> {
        let x = self.embed(net, images)?;
        let tokens = self.through_blocks(net, x)?;
        Ok(Some(mean_behind_class(net, tokens)?))
    }

    fn attention(&self, net: &mut Net<'_>, images: TensorId) -> Result<Option<TensorId>> {
        let Some((last, before)) = self.blocks.split_last() else {
            return Ok(None);
        };
        let x = self.embed(net, images)?;
        let x = self.after(net, x, before.len())?;
        last.attention_of(net, x, 0).map(Some)
    }

    fn read(&self, net: &mut Net<'_>, features: Features, pool: Pool) -> Result<Option<TensorId>> {
        match features.tokens {
            _ if pool == self.pool => Ok(Some(features.pooled)),
            Some(tokens) => Self::pooled_by(pool, net, tokens).map(Some),
            None => Ok(None),
        }
    }
}
