//! Layers, backbones and heads: they append nodes to a graph and declare parameters; they hold no GPU code.

pub mod heads;
pub mod import;
pub mod resnet;

use crate::graph::{
    DType, Executor, Graph, GraphError, HostData, Result, StateId, States, TensorId, TensorType,
};
use crate::ops::batch_norm::{BatchNorm, BatchNormInference};
use crate::ops::batch_norm_running::BatchNormRunning;
use crate::ops::cast_f16::CastF16;
use crate::ops::column_sum::ColumnSum;
use crate::ops::constant::Constant;
use crate::ops::conv2d::Conv2d;
use crate::ops::gemm::Gemm;
use crate::ops::reshape::Reshape;
use crate::ops::scale::Scale;
use crate::ops::swap_axes::SwapAxes;
use crate::reference::philox::{Purpose, Stream};

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal with this deviation (Kaiming fan-out: sqrt(2 / (k*r*s)), torchvision's ResNet).
    Normal(f32),
    /// Uniform in [-bound, bound] (`torch.nn.Linear`: 1/sqrt(fan in), weights and biases).
    Uniform(f32),
    /// One value.
    Constant(f32),
}

/// A declared parameter.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its state in the group `params`.
    pub id: StateId,
    /// Full name, torchvision's for the encoder.
    pub name: String,
    /// How it starts.
    pub init: Init,
    /// Factor on the learning rate.
    pub lr_multiplier: f32,
}

/// How batch norm takes its statistics while a graph is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Norm {
    /// The batch is cut into so many groups, each with statistics of its own (split batch norm: what several GPUs would see).
    pub groups: usize,
    /// A group takes every `groups`-th sample instead of neighbours: queries grouped one way and keys the other share no batch-mates by design (what shuffling is for).
    pub interleaved: bool,
    /// Running statistics follow; the momentum branch has none, for only the trained encoder is evaluated.
    pub track: bool,
}

impl Default for Norm {
    fn default() -> Self {
        Self {
            groups: 1,
            interleaved: false,
            track: true,
        }
    }
}

/// Group of the momentum branch's parameters: a copy of `params` that follows it.
pub const MOMENTUM_BRANCH: &str = "key_params";

/// The states of a model: parameters (`params`) and running statistics (`bn_stats`). Graphs for training and for evaluation share them.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// All states.
    pub states: States,
    /// Parameters in order of declaration.
    pub params: Vec<Param>,
    buffers: Vec<(StateId, Init)>,
    /// How batch norm takes its statistics from here on.
    pub norm: Norm,
    /// Parameters come from the momentum branch from here on.
    pub momentum_branch: bool,
    /// Mixed precision from here on: convolutions and the heads' products take halves (sums in f32), activations between convolutions are kept as halves.
    pub half: bool,
}

/// Batch normalisation's constants (PyTorch's defaults).
const EPS: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

impl Model {
    /// The parameter called `name` under the graph's scope: declared at first sight, shared afterwards.
    pub fn param(&mut self, g: &mut Graph, name: &str, shape: &[usize], init: Init) -> TensorId {
        self.param_with(g, name, shape, init, 1.0)
    }

    /// [`Model::param`] with a factor on the learning rate.
    pub fn param_with(
        &mut self,
        g: &mut Graph,
        name: &str,
        shape: &[usize],
        init: Init,
        lr_multiplier: f32,
    ) -> TensorId {
        let name = g.path(name);
        let id = self.states.find("params", &name).unwrap_or_else(|| {
            let id = self.states.add("params", &name, TensorType::f32(shape));
            self.params.push(Param {
                id,
                name,
                init,
                lr_multiplier,
            });
            id
        });
        let twin = self.states.counterpart(id, MOMENTUM_BRANCH);
        let id = twin.filter(|_| self.momentum_branch).unwrap_or(id);
        g.state(&self.states, id)
    }

    /// A state that is no parameter, under its full name.
    pub fn extra(&mut self, group: &str, name: &str, ty: TensorType, init: Init) -> StateId {
        self.states.find(group, name).unwrap_or_else(|| {
            let id = self.states.add(group, name, ty);
            self.buffers.push((id, init));
            id
        })
    }

    /// Makes the momentum branch: a copy of all parameters declared so far. They must be all that there will be.
    pub fn branch(&mut self) {
        if self.states.whole(MOMENTUM_BRANCH).is_none() {
            self.states.mirror("params", MOMENTUM_BRANCH);
        }
    }

    /// Sets the momentum branch to the parameters' values, as at the start of a run.
    ///
    /// # Errors
    /// States that are not allocated.
    pub fn level_branch(&self, exec: &mut dyn Executor) -> Result<()> {
        if let (Some(from), Some(to)) = (
            self.states.whole("params"),
            self.states.whole(MOMENTUM_BRANCH),
        ) {
            let values = exec.read_state(&self.states, from)?;
            exec.write_state(&self.states, to, &values)?;
        }
        Ok(())
    }

    fn buffer(&mut self, g: &mut Graph, name: &str, len: usize, value: f32) -> TensorId {
        let name = g.path(name);
        let id = self.states.find("bn_stats", &name).unwrap_or_else(|| {
            let id = self.states.add("bn_stats", &name, TensorType::f32([len]));
            self.buffers.push((id, Init::Constant(value)));
            id
        });
        g.state(&self.states, id)
    }

    /// A convolution without bias: x [n,h,w,c] -> [n,p,q,k].
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn conv(
        &mut self,
        g: &mut Graph,
        name: &str,
        x: TensorId,
        k: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<TensorId> {
        let c = g.dims(x)[3];
        g.scope(name, |g| {
            let deviation = (2.0 / (k * kernel * kernel) as f32).sqrt();
            let w = self.param(
                g,
                "weight",
                &[k, kernel, kernel, c],
                Init::Normal(deviation),
            );
            let (x, w) = match self.half {
                true => (halved(g, x)?, halved(g, w)?),
                false => (x, w),
            };
            g.push1(
                Conv2d {
                    stride,
                    padding: kernel / 2,
                },
                &[x, w],
            )
        })
    }

    /// Batch normalisation, with ReLU and residual fused; batch statistics (updating the running ones) or, for evaluation, the running ones.
    ///
    /// # Errors
    /// Shapes that do not fit.
    #[allow(clippy::too_many_arguments, reason = "the facts of one layer")]
    pub fn batch_norm(
        &mut self,
        g: &mut Graph,
        name: &str,
        x: TensorId,
        relu: bool,
        residual: Option<TensorId>,
        train: bool,
        scale: f32,
    ) -> Result<TensorId> {
        let c = g.dims(x).last().copied().unwrap_or(1);
        g.scope(name, |g| {
            let gamma = self.param(g, "weight", &[c], Init::Constant(scale));
            let beta = self.param(g, "bias", &[c], Init::Constant(0.0));
            let mean = self.buffer(g, "running_mean", c, 0.0);
            let var = self.buffer(g, "running_var", c, 1.0);
            if train {
                let op = BatchNorm {
                    eps: EPS,
                    relu,
                    residual: residual.is_some(),
                };
                return self.batch_statistics(g, op, x, [gamma, beta], residual, [mean, var]);
            }
            {
                let mut inputs = vec![x, gamma, beta, mean, var];
                inputs.extend(residual);
                g.push1(
                    BatchNormInference {
                        eps: EPS,
                        relu,
                        residual: residual.is_some(),
                    },
                    &inputs,
                )
            }
        })
    }

    /// Batch norm of a head's last layer with given scale and shift (constants) instead of parameters; heads are not evaluated, so no statistics are kept.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn bare_batch_norm(
        &mut self,
        g: &mut Graph,
        name: &str,
        x: TensorId,
        relu: bool,
        [gamma, beta]: [TensorId; 2],
    ) -> Result<TensorId> {
        let op = BatchNorm {
            eps: EPS,
            relu,
            residual: false,
        };
        g.scope(name, |g| Ok(g.push(op, &[x, gamma, beta])?[0]))
    }

    /// Batch norm with the batch's own statistics, by groups if so set, and the running ones' update.
    fn batch_statistics(
        &self,
        g: &mut Graph,
        op: BatchNorm,
        x: TensorId,
        [gamma, beta]: [TensorId; 2],
        residual: Option<TensorId>,
        running: [TensorId; 2],
    ) -> Result<TensorId> {
        let Norm {
            groups,
            interleaved,
            track,
        } = self.norm;
        let dims = g.dims(x).to_vec();
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
        let part = |g: &mut Graph, t: TensorId| match groups {
            1 => Ok(t),
            _ => g.push1(
                SwapAxes {
                    axes,
                    out: wide.into(),
                },
                &[t],
            ),
        };
        let tile = |g: &mut Graph, t: TensorId| match groups {
            1 => Ok(t),
            _ => {
                let t = repeat(g, t, groups)?;
                let shape = [groups * c].into();
                g.push1(Reshape { shape }, &[t])
            }
        };
        let mut inputs = vec![part(g, x)?, tile(g, gamma)?, tile(g, beta)?];
        if let Some(r) = residual {
            inputs.push(part(g, r)?);
        }
        let y = g.push(op, &inputs)?;
        if track {
            let mean = |g: &mut Graph, t: TensorId| match groups {
                1 => Ok(t),
                _ => {
                    let shape = [groups, c].into();
                    let t = g.push1(Reshape { shape }, &[t])?;
                    let sum = g.push1(ColumnSum, &[t])?;
                    let factor = 1.0 / groups as f64;
                    g.push1(Scale { factor }, &[sum])
                }
            };
            let batch = [mean(g, y[1])?, mean(g, y[2])?];
            let update = BatchNormRunning {
                momentum: MOMENTUM,
                count: n * inner / groups,
            };
            g.push_updating(update, &batch, &running)?;
        }
        if groups == 1 {
            return Ok(y[0]);
        }
        let [p, a, b, c] = axes;
        let back = SwapAxes {
            axes: [p, b, a, c],
            out: dims.as_slice().into(),
        };
        g.push1(back, &[y[0]])
    }

    /// Writes the initial values of all parameters and buffers, from the seed and the parameter's position alone.
    ///
    /// # Errors
    /// States that are not allocated.
    pub fn initialise(&self, exec: &mut dyn Executor, seed: u64) -> Result<()> {
        let params = self.params.iter().map(|p| (p.id, p.init));
        let all = params.chain(self.buffers.iter().copied());
        for (i, (id, init)) in all.enumerate() {
            let n = self.states.entry(id).ty.elements();
            let mut stream = Stream::new(seed, 0, i as u32, Purpose::Init);
            let values = match init {
                Init::Normal(s) => (0..n).map(|_| s * stream.normal()).collect(),
                Init::Uniform(b) => (0..n).map(|_| stream.range(-b, b)).collect(),
                Init::Constant(v) => vec![v; n],
            };
            exec.write_state(&self.states, id, &HostData::F32(values))?;
        }
        self.level_branch(exec)
    }

    /// Elements of the group `params`, padding included, and number of trained values.
    pub fn sizes(&self) -> (usize, usize) {
        let padded = self
            .states
            .groups()
            .iter()
            .find(|g| g.name == "params")
            .map_or(0, |g| g.len);
        debug_assert!(
            self.states
                .groups()
                .iter()
                .all(|g| g.name != "params" || g.dtype == DType::F32)
        );
        (
            padded,
            self.params
                .iter()
                .map(|p| self.states.entry(p.id).ty.elements())
                .sum(),
        )
    }
}

/// x in f16, as it is or rounded.
///
/// # Errors
/// None is expected.
pub fn halved(g: &mut Graph, x: TensorId) -> Result<TensorId> {
    match g.ty(x).dtype {
        DType::F16 => Ok(x),
        _ => g.push1(CastF16, &[x]),
    }
}

/// x (any shape, e elements) -> [count, e]: so many copies; gradients add up.
///
/// # Errors
/// None is expected.
pub fn repeat(g: &mut Graph, x: TensorId, count: usize) -> Result<TensorId> {
    let n = g.ty(x).elements();
    let row = g.push1(
        Reshape {
            shape: [1, n].into(),
        },
        &[x],
    )?;
    let ones = g.push1(
        Constant {
            shape: [count, 1].into(),
            value: 1.0,
        },
        &[],
    )?;
    g.push1(Gemm::default(), &[ones, row])
}
