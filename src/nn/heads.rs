//! Projection heads and predictors: C independent MLPs run as one batched matrix product; and the shared temperature
//! network phi.

use super::apart::Start;
use super::layers::{BatchNorm, Linear};
use super::model::{Init, Layout, Part};
use super::net::{Net, Var};
use crate::graph::{Graph, Result, TensorId};
use crate::ops::gemm::Gemm;
use crate::ops::swap_axes::SwapAxes;
use crate::settings::{Range, between};
use serde::{Deserialize, Serialize};

/// Widths of linear layers, as settings ask for them.
pub const WIDTH: Range = between(1.0, 131_072.0);

/// What follows the last linear layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Last {
    /// Nothing (the layer has a bias).
    #[default]
    Plain,
    /// Batch norm with scale and shift.
    Norm,
    /// Batch norm without scale and shift.
    BareNorm,
    /// Nothing, not even a bias.
    Bare,
}

/// The shape of C multilayer perceptrons, and what makes them differ.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// What the initial values of several heads have to do with each other.
    pub start: Start,
    /// Share of the input's channels to which each of several heads is blind.
    pub unseen: f32,
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
            start: Start::Drawn,
            unseen: 0.0,
        }
    }

    /// Declares the layers of a part for inputs of length `d`. They are numbered as PyTorch's `nn.Sequential` would
    /// number them.
    pub fn layers(&self, net: &mut Net<'_>, part: Part, d: usize) -> MlpLayers {
        net.part(part, |net| {
            let (mut width, mut number) = (d, 0);
            let mut layers = Vec::new();
            for at in 0..self.layers {
                let end = at + 1 == self.layers;
                let out = if end { self.out } else { self.hidden };
                let (shape, name) = ([self.heads, out, width], number.to_string());
                let (normed, bias) = match self.last {
                    _ if !end => (self.norm, !self.norm),
                    Last::Plain => (false, true),
                    Last::Bare => (false, false),
                    Last::Norm | Last::BareNorm => (true, false),
                };
                let start = match self.start {
                    // Behind the first layer a head has a space of its own.
                    Start::Subspaces if at > 0 => Start::Drawn,
                    _ if self.heads == 1 => Start::Drawn,
                    start => start,
                };
                let mut linear = Linear::of_heads(net, &name, shape, bias, start);
                if at == 0 && self.heads > 1 && self.unseen > 0.0 {
                    linear = linear.blind(net, &name, shape, self.unseen);
                }
                number += 1;
                let norm = normed.then(|| {
                    let name = number.to_string();
                    number += 1;
                    let c = self.heads * out;
                    match end && self.last == Last::BareNorm {
                        true => BatchNorm::bare(net, &name, c),
                        false => BatchNorm::new(net, &name, c),
                    }
                });
                number += usize::from(!end);
                layers.push((linear, norm));
                width = out;
            }
            MlpLayers { layers }
        })
    }
}

/// C multilayer perceptrons with their parameters.
#[derive(Clone, Debug)]
pub struct MlpLayers {
    layers: Vec<(Linear, Option<BatchNorm>)>,
}

impl MlpLayers {
    /// x [n,d], shared by all heads, or [heads,n,d] -> [heads,n,out].
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn call(&self, net: &mut Net<'_>, mut x: TensorId) -> Result<TensorId> {
        for (at, (linear, norm)) in self.layers.iter().enumerate() {
            let hidden = at + 1 < self.layers.len();
            x = match norm {
                None if hidden => linear.call_relu(net, x)?,
                None => linear.call(net, x)?,
                Some(norm) => {
                    let y = linear.call(net, x)?;
                    by_heads(net, norm, y, hidden)?
                }
            };
        }
        Ok(x)
    }
}

/// Batch norm of x [heads,n,d], each head and feature by itself; `relu`: with a ReLU behind it.
fn by_heads(net: &mut Net<'_>, norm: &BatchNorm, x: TensorId, relu: bool) -> Result<TensorId> {
    let &[heads, n, d] = net.dims(x) else {
        return norm.call_on_batch(net, x, relu);
    };
    // Heads become channels; one head already is.
    let swap = |axes: [usize; 4], out: &[usize]| SwapAxes {
        axes,
        out: out.into(),
    };
    let flat = net.push1(swap([1, heads, n, d], &[n, heads * d]), &[x])?;
    let y = norm.call_on_batch(net, flat, relu)?;
    net.push1(swap([1, n, heads, d], &[heads, n, d]), &[y])
}

/// The temperature network of Eq. (3), one for all heads: Linear(d,hidden)-ReLU-Linear(hidden,d) on rows of length d;
/// with a gain where scores are centred.
#[derive(Clone, Debug)]
pub struct Phi {
    first: Linear,
    second: Linear,
    gain: Option<Var>,
}

impl Phi {
    /// Declares the network; `with_gain`: the learned gain [1] too, which starts as 1.
    pub fn new(net: &mut Net<'_>, d: usize, hidden: usize, with_gain: bool) -> Self {
        net.part(Part::Temperature, |net| {
            let gain =
                with_gain.then(|| net.param("gain", &[1], Init::Constant(1.0), Layout::Plain));
            Self {
                first: Linear::new(net, "0", [hidden, d]),
                second: Linear::new(net, "2", [d, hidden]),
                gain,
            }
        })
    }

    /// The network's tensors in this graph.
    pub fn values(&self, net: &mut Net<'_>) -> PhiValues {
        PhiValues {
            first: self.first.values(net),
            second: self.second.values(net),
            gain: self.gain.map(|v| net.value(v)),
        }
    }
}

/// The temperature network as tensors of one graph: losses are built on a graph alone. It computes in f32, as all of
/// a loss.
#[derive(Clone, Copy, Debug)]
pub struct PhiValues {
    first: (TensorId, Option<TensorId>),
    second: (TensorId, Option<TensorId>),
    /// The gain [1].
    pub gain: Option<TensorId>,
}

impl PhiValues {
    /// z [c,n,d] -> [c,n,d].
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn call(&self, g: &mut Graph, z: TensorId) -> Result<TensorId> {
        g.scope("phi", |g| {
            let mut x = z;
            for (name, relu, (w, b)) in [("0", true, self.first), ("2", false, self.second)] {
                let op = Gemm {
                    trans_b: true,
                    bias: b.is_some(),
                    relu,
                    ..Gemm::default()
                };
                let inputs: Vec<TensorId> = [x, w].into_iter().chain(b).collect();
                x = g.scope(name, |g| g.push1(op, &inputs))?;
            }
            Ok(x)
        })
    }
}
