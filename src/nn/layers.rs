//! Layers: made once, which declares their parameters, and called any number of times, in any graph of the model.

use super::apart::Start;
use super::halved;
use super::model::{Init, Layout, Part};
use super::net::{Mode, Net, Norm, Precision, Var};
use crate::comm::World;
use crate::graph::{GraphError, Result, TensorId};
use crate::ops::batch_norm::{BatchNorm as Op, BatchNormInference, BatchNormStatistics};
use crate::ops::batch_norm_of_ranks::BatchNormOfRanks;
use crate::ops::batch_norm_running::BatchNormRunning;
use crate::ops::column_sum::ColumnSum;
use crate::ops::constant::Constant;
use crate::ops::conv2d::Conv2d;
use crate::ops::gemm::Gemm;
use crate::ops::moments_of_ranks::MomentsOfRanks;
use crate::ops::swap_axes::SwapAxes;

/// Batch normalisation's constants (PyTorch's defaults).
const EPS: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

/// A convolution without bias, padded by half its kernel: x [n,h,w,c] -> [n,p,q,k].
#[derive(Clone, Debug)]
pub struct Conv {
    name: String,
    weight: Var,
    stride: usize,
    kernel: usize,
}

impl Conv {
    /// Declares the weights of a kernel x kernel convolution from c to k channels (Kaiming normal, fan out).
    pub fn new(
        net: &mut Net<'_>,
        name: &str,
        [c, k]: [usize; 2],
        kernel: usize,
        stride: usize,
    ) -> Self {
        let deviation = (2.0 / (k * kernel * kernel) as f32).sqrt();
        let dims = [k, kernel, kernel, c];
        let weight = net.scope(name, |net| {
            net.param("weight", &dims, Init::Normal(deviation), Layout::Conv)
        });
        Self {
            name: net.name(name),
            weight,
            stride,
            kernel,
        }
    }

    /// Appends the convolution.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn call(&self, net: &mut Net<'_>, x: TensorId) -> Result<TensorId> {
        net.labelled(&self.name, |net| {
            let w = net.value(self.weight);
            let operands = match net.precision() {
                Precision::Mixed => [halved(net, x)?, halved(net, w)?],
                Precision::F32 => [x, w],
            };
            let op = Conv2d {
                stride: self.stride,
                padding: self.kernel / 2,
            };
            net.push1(op, &operands)
        })
    }
}

/// A linear layer, or one for each of C heads: x [n,d] or [c,n,d] -> [n,k] or [c,n,k], x W^T + b.
#[derive(Clone, Debug)]
pub struct Linear {
    name: String,
    weight: Var,
    bias: Option<Var>,
    seen: Option<Var>,
}

impl Linear {
    /// Declares weights [k,d] and a bias, with `torch.nn.Linear`'s initialisation.
    pub fn new(net: &mut Net<'_>, name: &str, [k, d]: [usize; 2]) -> Self {
        Self::declare(net, name, &[k, d], Layout::Plain, true)
    }

    /// Declares weights [c,k,d] for each of c heads, whose initial values have to do with each other as `start` says,
    /// and a bias unless batch norm follows.
    pub fn of_heads(
        net: &mut Net<'_>,
        name: &str,
        shape: [usize; 3],
        bias: bool,
        start: Start,
    ) -> Self {
        let started = |init| match (start, init) {
            (Start::Copies, Init::Uniform(b)) => Init::SameUniform(b),
            (Start::Subspaces, Init::Uniform(b)) => Init::Subspaces(b),
            (_, init) => init,
        };
        let [weight, of_bias] = Self::inits(net, &shape);
        // A bias has no input to be a subspace of.
        let of_bias = match start {
            Start::Copies => started(of_bias),
            _ => of_bias,
        };
        let inits = [started(weight), of_bias];
        Self::declare_as(net, name, &shape, Layout::Heads, inits, bias)
    }

    /// Of the input's channels each head is blind to a drawn share, whatever the weights become. `shape`: as the layer
    /// was declared with.
    #[must_use]
    pub fn blind(self, net: &mut Net<'_>, name: &str, shape: [usize; 3], unseen: f32) -> Self {
        let seen = net.scope(name, |net| {
            net.frozen(|net| net.param("seen", &shape, Init::Seen(unseen), Layout::Heads))
        });
        Self {
            seen: Some(seen),
            ..self
        }
    }

    /// Declares weights [k,d], uniform with the bound sqrt(6 / (d + fan_out)), and a bias of zero (Glorot, Bengio,
    /// AISTATS 2010; "Xavier uniform"). `fan_out` is k, but where a code base initialises a layer in parts.
    pub fn xavier(net: &mut Net<'_>, name: &str, [k, d]: [usize; 2], fan_out: usize) -> Self {
        let bound = Init::Uniform((6.0 / (d + fan_out) as f32).sqrt());
        let inits = [bound, Init::Constant(0.0)];
        Self::declare_as(net, name, &[k, d], Layout::Plain, inits, true)
    }

    /// The classifier of features of length d ([`Part::Classifier`]). It starts as zero, so that nothing is drawn.
    pub fn classifier(net: &mut Net<'_>, shape: [usize; 2]) -> Self {
        Self::classifier_from(net, shape, Init::Constant(0.0))
    }

    /// As [`Linear::classifier`], with weights that start as `init` says.
    pub fn classifier_from(net: &mut Net<'_>, [classes, d]: [usize; 2], init: Init) -> Self {
        let zero = Init::Constant(0.0);
        net.part(Part::Classifier, |net| Self {
            seen: None,
            name: Part::Classifier.prefix().into(),
            weight: net.param("weight", &[classes, d], init, Layout::Plain),
            bias: Some(net.param("bias", &[classes], zero, Layout::Plain)),
        })
    }

    fn declare(net: &mut Net<'_>, name: &str, dims: &[usize], layout: Layout, bias: bool) -> Self {
        let inits = Self::inits(net, dims);
        Self::declare_as(net, name, dims, layout, inits, bias)
    }

    /// What weights [..,k,d] and bias start from here.
    fn inits(net: &Net<'_>, dims: &[usize]) -> [Init; 2] {
        let (k, d) = (dims[dims.len() - 2] as f32, dims[dims.len() - 1] as f32);
        match net.is_xavier() {
            true => [Init::Uniform((6.0 / (d + k)).sqrt()), Init::Constant(0.0)],
            false => [Init::Uniform(1.0 / d.sqrt()); 2],
        }
    }

    /// Initial values of weights and bias: `inits`.
    fn declare_as(
        net: &mut Net<'_>,
        name: &str,
        dims: &[usize],
        layout: Layout,
        inits: [Init; 2],
        bias: bool,
    ) -> Self {
        let rest = &dims[..dims.len() - 1];
        net.scope(name, |net| Self {
            weight: net.param("weight", dims, inits[0], layout),
            bias: bias.then(|| net.param("bias", rest, inits[1], layout)),
            seen: None,
            name: String::new(),
        })
        .named(net.name(name))
    }

    fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// Appends the layer.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn call(&self, net: &mut Net<'_>, x: TensorId) -> Result<TensorId> {
        self.append(net, x, Gemm::default())
    }

    /// Appends the layer with a ReLU behind it, in one kernel.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn call_relu(&self, net: &mut Net<'_>, x: TensorId) -> Result<TensorId> {
        let with_relu = Gemm {
            relu: true,
            ..Gemm::default()
        };
        self.append(net, x, with_relu)
    }

    /// Appends the layer for an op that takes halves in mixed precision (attention, GELU).
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn call_half(&self, net: &mut Net<'_>, x: TensorId) -> Result<TensorId> {
        let half = net.precision() == Precision::Mixed;
        let op = Gemm {
            half,
            ..Gemm::default()
        };
        self.append(net, x, op)
    }

    fn append(&self, net: &mut Net<'_>, x: TensorId, op: Gemm) -> Result<TensorId> {
        net.labelled(&self.name, |net| {
            let mut w = net.value(self.weight);
            if let Some(seen) = self.seen {
                let seen = net.value_if_trained(seen)?;
                w = net.mul(w, seen)?;
            }
            let mut operands = match net.precision() {
                Precision::Mixed => vec![halved(net, x)?, halved(net, w)?],
                Precision::F32 => vec![x, w],
            };
            operands.extend(self.bias.map(|b| net.value(b)));
            let op = Gemm {
                trans_b: true,
                bias: self.bias.is_some(),
                ..op
            };
            net.push1(op, &operands)
        })
    }

    /// The tensors of weights and bias in this graph, for a loss that is built on the graph alone.
    pub fn values(&self, net: &mut Net<'_>) -> (TensorId, Option<TensorId>) {
        (net.value(self.weight), self.bias.map(|b| net.value(b)))
    }
}

/// What follows a batch norm in the same kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Nothing,
    Relu,
    AddRelu(TensorId),
}

/// Scale and shift of a batch norm.
#[derive(Clone, Copy, Debug)]
enum Affine {
    /// Learned, with running statistics.
    Learned {
        gamma: Var,
        beta: Var,
        running: [Var; 2],
    },
    /// Scale 1 and shift 0, of so many channels; no running statistics.
    Bare(usize),
}

/// Batch normalisation over all but the last dimension: x [..,c].
#[derive(Clone, Debug)]
pub struct BatchNorm {
    name: String,
    affine: Affine,
}

impl BatchNorm {
    /// Declares scale (which starts as 1) and shift (0) of `c` channels, and their running statistics.
    pub fn new(net: &mut Net<'_>, name: &str, c: usize) -> Self {
        Self::declare(net, name, c, 1.0)
    }

    /// A scale that starts as 0, so that a residual block starts as the identity (Goyal et al. 2017).
    pub fn zero_initialised(net: &mut Net<'_>, name: &str, c: usize) -> Self {
        Self::declare(net, name, c, 0.0)
    }

    /// Without scale and shift. It has no running statistics, so it is for layers that are not evaluated.
    pub fn bare(net: &mut Net<'_>, name: &str, c: usize) -> Self {
        net.model.has_batch_norm = true;
        Self {
            name: net.name(name),
            affine: Affine::Bare(c),
        }
    }

    fn declare(net: &mut Net<'_>, name: &str, c: usize, scale: f32) -> Self {
        net.model.has_batch_norm = true;
        let affine = net.scope(name, |net| Affine::Learned {
            gamma: net.param("weight", &[c], Init::Constant(scale), Layout::Plain),
            beta: net.param("bias", &[c], Init::Constant(0.0), Layout::Plain),
            running: [
                net.statistic("running_mean", c, 0.0),
                net.statistic("running_var", c, 1.0),
            ],
        });
        Self {
            name: net.name(name),
            affine,
        }
    }

    /// Appends the norm.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn call(&self, net: &mut Net<'_>, x: TensorId) -> Result<TensorId> {
        self.append(net, net.mode(), x, Then::Nothing)
    }

    /// Appends the norm with a ReLU behind it.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn call_relu(&self, net: &mut Net<'_>, x: TensorId) -> Result<TensorId> {
        self.append(net, net.mode(), x, Then::Relu)
    }

    /// Appends relu(norm(x) + residual).
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn call_add_relu(
        &self,
        net: &mut Net<'_>,
        x: TensorId,
        residual: TensorId,
    ) -> Result<TensorId> {
        self.append(net, net.mode(), x, Then::AddRelu(residual))
    }

    /// Appends the norm with the batch's own statistics in evaluation too, as heads have it, whose running statistics
    /// nobody evaluates with; `relu`: with a ReLU behind it.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn call_on_batch(&self, net: &mut Net<'_>, x: TensorId, relu: bool) -> Result<TensorId> {
        let then = if relu { Then::Relu } else { Then::Nothing };
        self.append(net, Mode::Train, x, then)
    }

    fn append(&self, net: &mut Net<'_>, mode: Mode, x: TensorId, then: Then) -> Result<TensorId> {
        net.labelled(&self.name, |net| {
            let relu = then != Then::Nothing;
            let residual = match then {
                Then::AddRelu(r) => Some(r),
                _ => None,
            };
            let op = Op {
                eps: EPS,
                relu,
                residual: residual.is_some(),
            };
            let (gamma, beta, running) = match self.affine {
                Affine::Bare(c) => {
                    let shape = || [c].into();
                    let [one, zero] = [1.0, 0.0].map(|value| Constant {
                        shape: shape(),
                        value,
                    });
                    (net.push1(one, &[])?, net.push1(zero, &[])?, None)
                }
                Affine::Learned {
                    gamma,
                    beta,
                    running,
                } => (net.value(gamma), net.value(beta), Some(running)),
            };
            let running = running.map(|r| r.map(|v| net.value(v)));
            let (Mode::Eval, Some(running)) = (mode, running) else {
                return batch_statistics(net, op, x, [gamma, beta], residual, running);
            };
            let mut inputs = vec![x, gamma, beta, running[0], running[1]];
            inputs.extend(residual);
            let op = BatchNormInference {
                eps: EPS,
                relu,
                residual: residual.is_some(),
            };
            net.push1(op, &inputs)
        })
    }
}

/// Batch norm with the batch's own statistics, by groups if so set, and the update of the running ones, where there are
/// any.
fn batch_statistics(
    net: &mut Net<'_>,
    op: Op,
    x: TensorId,
    [gamma, beta]: [TensorId; 2],
    residual: Option<TensorId>,
    running: Option<[TensorId; 2]>,
) -> Result<TensorId> {
    let Norm {
        groups,
        interleaved,
        track,
    } = net.norm();
    let dims = net.dims(x).to_vec();
    let (n, c) = (dims[0], dims[dims.len() - 1]);
    let inner: usize = dims[1..dims.len() - 1].iter().product();
    if groups > 1 && !n.is_multiple_of(groups) {
        return Err(GraphError::Invalid(format!(
            "a batch of {n} cannot be cut into {groups} groups of batch norm"
        )));
    }
    // Groups become channels of their own: [groups, rows, c] -> [rows, groups c].
    let axes = match interleaved {
        false => [1, groups, n / groups * inner, c],
        true => [n / groups, groups, inner, c],
    };
    let wide = [n / groups * inner, groups * c];
    let part = |net: &mut Net<'_>, t: TensorId| match groups {
        1 => Ok(t),
        _ => net.push1(
            SwapAxes {
                axes,
                out: wide.into(),
            },
            &[t],
        ),
    };
    let tile = |net: &mut Net<'_>, t: TensorId| match groups {
        1 => Ok(t),
        _ => {
            let t = net.repeat(t, groups)?;
            net.reshape(t, [groups * c])
        }
    };
    let mut inputs = vec![part(net, x)?, tile(net, gamma)?, tile(net, beta)?];
    if let Some(r) = residual {
        inputs.push(part(net, r)?);
    }
    let (world, rows) = (net.shares_norm(), n * inner / groups);
    let ranks = world.as_ref().map_or(1, World::ranks);
    let y = match world {
        None => net.push(op, &inputs)?,
        Some(world) => of_ranks(net, (world, rows), op, &inputs)?,
    };
    if let Some(running) = running.filter(|_| track) {
        let mean = |net: &mut Net<'_>, t: TensorId| match groups {
            1 => Ok(t),
            _ => {
                let t = net.reshape(t, [groups, c])?;
                let sum = net.push1(ColumnSum, &[t])?;
                net.scale(sum, 1.0 / groups as f64)
            }
        };
        let batch = [mean(net, y[1])?, mean(net, y[2])?];
        let update = BatchNormRunning {
            momentum: MOMENTUM,
            count: ranks * rows,
        };
        net.push_updating(update, &batch, &running)?;
    }
    if groups == 1 {
        return Ok(y[0]);
    }
    let [p, a, b, c] = axes;
    let back = SwapAxes {
        axes: [p, b, a, c],
        out: dims.as_slice().into(),
    };
    net.push1(back, &[y[0]])
}

/// Batch norm as `op` would append it, by the statistics of all ranks' rows, of which this one has `rows` of each
/// channel: result, mean, variance.
fn of_ranks(
    net: &mut Net<'_>,
    (world, rows): (World, usize),
    op: Op,
    inputs: &[TensorId],
) -> Result<Vec<TensorId>> {
    let (x, gamma, beta) = (inputs[0], inputs[1], inputs[2]);
    let own = net.push(BatchNormStatistics, &[x])?;
    let exchange = MomentsOfRanks {
        world: world.clone(),
        count: rows,
    };
    let all = net.push(exchange, &own)?;
    let op = BatchNormOfRanks {
        count: world.ranks() * rows,
        world,
        norm: BatchNormInference {
            eps: op.eps,
            relu: op.relu,
            residual: op.residual,
        },
    };
    let operands = [&[x, gamma, beta, all[0], all[1]], &inputs[3..]].concat();
    let y = net.push1(op, &operands)?;
    Ok(vec![y, all[0], all[1]])
}
