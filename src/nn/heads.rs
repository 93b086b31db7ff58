//! Projection heads and predictors: C independent MLPs run as one batched matrix product, and the shared temperature MLP phi.

use super::{Init, Model, halved};
use crate::graph::{Graph, Result, TensorId};
use crate::ops::constant::Constant;
use crate::ops::gemm::Gemm;
use crate::ops::swap_axes::SwapAxes;

/// What follows the last linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// Nothing (the layer has a bias).
    Plain,
    /// Batch norm with scale and shift.
    Norm,
    /// Batch norm without scale and shift.
    BareNorm,
}

/// C multilayer perceptrons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mlp {
    /// C.
    pub heads: usize,
    /// Linear layers.
    pub layers: usize,
    /// Width of the hidden layers.
    pub hidden: usize,
    /// Width of the output.
    pub out: usize,
    /// Batch norm before every hidden ReLU (those layers then have no bias).
    pub norm: bool,
    /// What follows the last layer.
    pub last: Last,
}

impl Mlp {
    /// Linear-ReLU-Linear without batch norm: SimCLR's and MoCo's head.
    pub fn plain(heads: usize, hidden: usize, out: usize) -> Self {
        Self {
            heads,
            layers: 2,
            hidden,
            out,
            norm: false,
            last: Last::Plain,
        }
    }

    /// x [n,d], shared by all heads, or [heads,n,d] -> [heads,n,out]. Layers are numbered as PyTorch's `nn.Sequential` would.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn build(&self, g: &mut Graph, m: &mut Model, name: &str, x: TensorId) -> Result<TensorId> {
        g.scope(name, |g| {
            let (mut x, mut number) = (x, 0);
            for layer in 0..self.layers {
                let end = layer + 1 == self.layers;
                let width = if end { self.out } else { self.hidden };
                let d = g.dims(x).last().copied().unwrap_or(1);
                let bare = Linear {
                    bias: if end {
                        self.last == Last::Plain
                    } else {
                        !self.norm
                    },
                    relu: !end && !self.norm,
                    lr: 1.0,
                    half: m.half,
                };
                x = bare.build(g, m, &number.to_string(), x, &[self.heads, width, d])?;
                number += 1;
                if !end && self.norm || end && self.last != Last::Plain {
                    let affine = !end || self.last == Last::Norm;
                    x = head_norm(g, m, &number.to_string(), x, !end, affine)?;
                    number += 1;
                }
                number += usize::from(!end);
            }
            Ok(x)
        })
    }
}

/// Batch norm of x [heads,n,d], each head and feature by itself.
fn head_norm(
    g: &mut Graph,
    m: &mut Model,
    name: &str,
    x: TensorId,
    relu: bool,
    affine: bool,
) -> Result<TensorId> {
    let &[heads, n, d] = g.dims(x) else {
        return Ok(x);
    };
    // Heads become channels; one head already is.
    let swap = |axes: [usize; 4], out: &[usize]| SwapAxes {
        axes,
        out: out.into(),
    };
    let flat = g.push1(swap([1, heads, n, d], &[n, heads * d]), &[x])?;
    let y = if affine {
        m.batch_norm(g, name, flat, relu, None, true, 1.0)?
    } else {
        let constant = |g: &mut Graph, value| {
            let shape = [heads * d].into();
            g.push1(Constant { shape, value }, &[])
        };
        let vectors = [constant(g, 1.0)?, constant(g, 0.0)?];
        m.bare_batch_norm(g, name, flat, relu, vectors)?
    };
    g.push1(swap([1, n, heads, d], &[heads, n, d]), &[y])
}

/// phi of Eq. (3): z [c,n,d] -> [c,n,d], Linear(d,hidden)-ReLU-Linear(hidden,d), one MLP for all heads.
///
/// # Errors
/// Shapes that do not fit.
pub fn phi(
    g: &mut Graph,
    m: &mut Model,
    z: TensorId,
    hidden: usize,
    lr_multiplier: f32,
) -> Result<TensorId> {
    let d = g.dims(z)[2];
    let layer = |relu| Linear {
        bias: true,
        relu,
        lr: lr_multiplier,
        // Part of the loss, which is f32 always.
        half: false,
    };
    g.scope("phi", |g| {
        let x = layer(true).build(g, m, "0", z, &[hidden, d])?;
        layer(false).build(g, m, "2", x, &[d, hidden])
    })
}

/// A linear layer.
struct Linear {
    bias: bool,
    relu: bool,
    lr: f32,
    half: bool,
}

impl Linear {
    /// x W^T (+ b) with `torch.nn.Linear`'s initialisation; `shape` is that of the weights: [(heads,) out, in].
    fn build(
        &self,
        g: &mut Graph,
        m: &mut Model,
        name: &str,
        x: TensorId,
        shape: &[usize],
    ) -> Result<TensorId> {
        let init = Init::Uniform(1.0 / (shape[shape.len() - 1] as f32).sqrt());
        g.scope(name, |g| {
            let w = m.param_with(g, "weight", shape, init, self.lr);
            let mut inputs = match self.half {
                true => vec![halved(g, x)?, halved(g, w)?],
                false => vec![x, w],
            };
            if self.bias {
                let shape = &shape[..shape.len() - 1];
                inputs.push(m.param_with(g, "bias", shape, init, self.lr));
            }
            let op = Gemm {
                trans_b: true,
                bias: self.bias,
                relu: self.relu,
                ..Gemm::default()
            };
            g.push1(op, &inputs)
        })
    }
}
