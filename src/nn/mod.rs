//! Layers, backbones and heads: they append nodes to a graph and declare parameters; they hold no GPU code.

pub mod heads;
pub mod import;
pub mod resnet;

use crate::graph::{
    DType, Executor, Graph, HostData, Result, StateId, States, TensorId, TensorType,
};
use crate::ops::batch_norm::{BatchNorm, BatchNormInference};
use crate::ops::batch_norm_running::BatchNormRunning;
use crate::ops::conv2d::Conv2d;
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

/// The states of a model: parameters (`params`) and running statistics (`bn_stats`). Graphs for training and for evaluation share them.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// All states.
    pub states: States,
    /// Parameters in order of declaration.
    pub params: Vec<Param>,
    buffers: Vec<(StateId, f32)>,
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
        g.state(&self.states, id)
    }

    fn buffer(&mut self, g: &mut Graph, name: &str, len: usize, value: f32) -> TensorId {
        let name = g.path(name);
        let id = self.states.find("bn_stats", &name).unwrap_or_else(|| {
            let id = self.states.add("bn_stats", &name, TensorType::f32([len]));
            self.buffers.push((id, value));
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
        let count = g.ty(x).elements() / c;
        g.scope(name, |g| {
            let gamma = self.param(g, "weight", &[c], Init::Constant(scale));
            let beta = self.param(g, "bias", &[c], Init::Constant(0.0));
            let mean = self.buffer(g, "running_mean", c, 0.0);
            let var = self.buffer(g, "running_var", c, 1.0);
            let residual_flag = residual.is_some();
            if train {
                let mut inputs = vec![x, gamma, beta];
                inputs.extend(residual);
                let y = g.push(
                    BatchNorm {
                        eps: EPS,
                        relu,
                        residual: residual_flag,
                    },
                    &inputs,
                )?;
                g.push_updating(
                    BatchNormRunning {
                        momentum: MOMENTUM,
                        count,
                    },
                    &[y[1], y[2]],
                    &[mean, var],
                )?;
                Ok(y[0])
            } else {
                let mut inputs = vec![x, gamma, beta, mean, var];
                inputs.extend(residual);
                g.push1(
                    BatchNormInference {
                        eps: EPS,
                        relu,
                        residual: residual_flag,
                    },
                    &inputs,
                )
            }
        })
    }

    /// Writes the initial values of all parameters and buffers, from the seed and the parameter's position alone.
    ///
    /// # Errors
    /// States that are not allocated.
    pub fn initialise(&self, exec: &mut dyn Executor, seed: u64) -> Result<()> {
        for (i, p) in self.params.iter().enumerate() {
            let n = self.states.entry(p.id).ty.elements();
            let mut stream = Stream::new(seed, 0, i as u32, Purpose::Init);
            let values = match p.init {
                Init::Normal(s) => (0..n).map(|_| s * stream.normal()).collect(),
                Init::Uniform(b) => (0..n).map(|_| stream.range(-b, b)).collect(),
                Init::Constant(v) => vec![v; n],
            };
            exec.write_state(&self.states, p.id, &HostData::F32(values))?;
        }
        for (id, v) in &self.buffers {
            let n = self.states.entry(*id).ty.elements();
            exec.write_state(&self.states, *id, &HostData::F32(vec![*v; n]))?;
        }
        Ok(())
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
