//! Layers of Vision Transformers (Dosovitskiy et al., ICLR 2021): layer norm, attention, the pre-norm block. Encoders
//! and the decoders of masked autoencoders are made of them. Names of parameters are timm's.

use super::layers::Linear;
use super::model::{Init, Layout};
use super::net::{Net, Precision, Var};
use crate::graph::{Result, TensorId};
use crate::ops::attention::Attention as AttentionOp;
use crate::ops::attention_row::AttentionRow;
use crate::ops::gelu::Gelu;
use crate::ops::layer_norm::LayerNorm as LayerNormOp;
use serde::{Deserialize, Serialize};

/// Layer norm's constant in Vision Transformers (MAE, MoCo v3, timm). PyTorch's default, 1e-5, is another one.
const EPS: f64 = 1e-6;

/// Layer normalisation over the last dimension: x [..,d].
#[derive(Clone, Debug)]
pub struct LayerNorm {
    name: String,
    weight: Var,
    bias: Var,
}

impl LayerNorm {
    /// Declares scale (1) and shift (0).
    pub fn new(net: &mut Net<'_>, name: &str, d: usize) -> Self {
        let [weight, bias] = net.scope(name, |net| {
            [("weight", 1.0), ("bias", 0.0)]
                .map(|(leaf, value)| net.param(leaf, &[d], Init::Constant(value), Layout::Plain))
        });
        let name = net.name(name);
        Self { name, weight, bias }
    }

    /// Appends the norm, in f32.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn call(&self, net: &mut Net<'_>, x: TensorId) -> Result<TensorId> {
        self.append(net, x, LayerNormOp::new(EPS))
    }

    /// Appends the norm for a linear layer behind it: halves where that layer takes them; `recompute`: not kept for
    /// the backward pass.
    pub(super) fn call_for_product(
        &self,
        net: &mut Net<'_>,
        x: TensorId,
        recompute: bool,
    ) -> Result<TensorId> {
        let op = LayerNormOp {
            half: net.precision() == Precision::Mixed,
            recompute,
            ..LayerNormOp::new(EPS)
        };
        self.append(net, x, op)
    }

    fn append(&self, net: &mut Net<'_>, x: TensorId, op: LayerNormOp) -> Result<TensorId> {
        net.labelled(&self.name, |net| {
            let (w, b) = (net.value(self.weight), net.value(self.bias));
            Ok(net.push(op, &[x, w, b])?[0])
        })
    }
}

/// What the backward pass makes a second time instead of keeping it from the forward pass. Results are the same bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Nothing: the fastest.
    #[default]
    None,
    /// Results of layer norm and GELU: one pass over memory each.
    Pointwise,
    /// All of a block, from its input: a second forward pass.
    Blocks,
}

/// How linear layers start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Xavier uniform of every matrix, of [3d,d] for queries, keys and values together (MAE).
    #[default]
    Whole,
    /// Xavier uniform, of queries, keys and values each by itself (MoCo v3).
    Thirds,
}

/// The shape of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Numbers of a token (d), a multiple of the heads.
    pub dim: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden numbers of the MLP.
    pub hidden: usize,
    /// How linear layers start.
    pub start: Start,
    /// What is not kept for the backward pass.
    pub recompute: Recompute,
}

/// x + attention(norm(x)), then + mlp(norm(..)): tokens [b,n,d] -> [b,n,d].
#[derive(Clone, Debug)]
pub struct Block {
    name: String,
    norms: [LayerNorm; 2],
    qkv: Linear,
    proj: Linear,
    fc: [Linear; 2],
    dim: usize,
    heads: usize,
    recompute: Recompute,
}

impl Block {
    /// Declares the block's parameters under `name`.
    pub fn new(net: &mut Net<'_>, name: &str, shape: Shape) -> Self {
        let Shape {
            dim: d,
            heads,
            hidden,
            start,
            recompute,
        } = shape;
        let of_qkv = match start {
            Start::Whole => 3 * d,
            Start::Thirds => d,
        };
        let full = net.name(name);
        net.scope(name, |net| {
            let norm1 = LayerNorm::new(net, "norm1", d);
            let [qkv, proj] = net.scope("attn", |net| {
                let qkv = Linear::xavier(net, "qkv", [3 * d, d], of_qkv);
                [qkv, Linear::xavier(net, "proj", [d, d], d)]
            });
            let norm2 = LayerNorm::new(net, "norm2", d);
            let fc = net.scope("mlp", |net| {
                let first = Linear::xavier(net, "fc1", [hidden, d], hidden);
                [first, Linear::xavier(net, "fc2", [d, hidden], d)]
            });
            Self {
                name: full,
                norms: [norm1, norm2],
                qkv,
                proj,
                fc,
                dim: d,
                heads,
                recompute,
            }
        })
    }

    /// Queries, keys and values [b,n,3d] of tokens [b,n,d].
    fn projected(&self, net: &mut Net<'_>, x: TensorId) -> Result<TensorId> {
        let recompute = self.recompute == Recompute::Pointwise;
        let y = self.norms[0].call_for_product(net, x, recompute)?;
        self.qkv.call_half(net, y)
    }

    /// Appends the weights [b,heads,n] that the block's attention gives to all tokens for one of them, in f32, without
    /// the block itself.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn attention_of(&self, net: &mut Net<'_>, x: TensorId, token: usize) -> Result<TensorId> {
        let d = net.dims(x).last().copied().unwrap_or(0);
        let op = AttentionRow {
            attention: AttentionOp::new(d, self.heads),
            token,
        };
        let qkv = net.full_precision(|net| self.projected(net, x))?;
        let name = format!("{}.attn", self.name);
        net.labelled(&name, |net| net.push1(op, &[qkv]))
    }

    /// Appends the block. The residual stream is f32 in mixed precision too: trained networks have channels of several
    /// hundred.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn call(&self, net: &mut Net<'_>, x: TensorId) -> Result<TensorId> {
        let began = net.begin_checkpoint();
        let y = self.append(net, x)?;
        if self.recompute == Recompute::Blocks {
            net.end_checkpoint(began);
        }
        Ok(y)
    }

    fn append(&self, net: &mut Net<'_>, x: TensorId) -> Result<TensorId> {
        let recompute = self.recompute == Recompute::Pointwise;
        let qkv = self.projected(net, x)?;
        let attention = AttentionOp::new(self.dim, self.heads);
        let attn = format!("{}.attn", self.name);
        let o = net.labelled(&attn, |net| net.push(attention, &[qkv]))?[0];
        let o = self.proj.call(net, o)?;
        let x = net.add_branch(x, o)?;

        let y = self.norms[1].call_for_product(net, x, recompute)?;
        let y = self.fc[0].call_half(net, y)?;
        let gelu = Gelu {
            half: net.precision() == Precision::Mixed,
            recompute,
        };
        let y = net.push1(gelu, &[y])?;
        let y = self.fc[1].call(net, y)?;
        net.add_branch(x, y)
    }
}
