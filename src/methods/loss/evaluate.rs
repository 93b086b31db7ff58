//! One loss and its gradients from plain tensors, without a model.

use super::barlow_twins::{Redundancy, amcl_barlow_twins, barlow_twins};
use super::contrastive::{amcl, amcl_moco, moco, nt_xent};
use super::mocov3::{amcl_mocov3, mocov3};
use super::simsiam::{amcl_simsiam, byol, simsiam};
use super::{Adaptive, Amcl, LossOutput, Pairs, Path, Plain, Scorer};
use crate::device::{Choice, Device, DeviceError, Options};
use crate::graph::gpu::GpuExecutor;
use crate::graph::host::HostExecutor;
use crate::graph::{Executor, Graph, GraphError, HostData, TensorId, TensorType};
use crate::methods::vicreg::vicreg;
use crate::ops;
use crate::ops::gemm::Gemm;
use crate::ops::standardize_columns::Deviation;
use std::collections::BTreeMap;

/// Why a loss could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum LossError {
    /// A tensor or a setting is missing or is not what the loss takes; says which, and what would do.
    #[error("{0}")]
    Input(String),
    /// The loss could not be computed.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

fn bad(reason: impl Into<String>) -> LossError {
    LossError::Input(reason.into())
}

/// A tensor on the host, as f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
    /// Values; as many as the dimensions say.
    pub values: Vec<f64>,
}

impl Array {
    /// A tensor of f32 or f64 values.
    pub fn new<T: Into<f64>>(shape: &[usize], values: impl IntoIterator<Item = T>) -> Self {
        Self {
            shape: shape.to_vec(),
            values: values.into_iter().map(Into::into).collect(),
        }
    }
}

/// A loss with its settings. Inputs are not normalised; heads lead ([C,..]).
///
/// | loss | differentiated | constant |
/// |---|---|---|
/// | `NtXent` | z1, z2 [B,d] | |
/// | `Moco` | q [B,d] | k [B,d], queue [K,d] |
/// | `MocoV3` | q1, q2 [B,d] | k1, k2 [B,d] |
/// | `SimSiam` | p1, p2 [B,d] | z1, z2 [B,d] |
/// | `BarlowTwins` | z1, z2 [B,d] | |
/// | `Byol` | p1, p2 [B,d] | z1, z2 [B,d] |
/// | `VicReg` | z1, z2 [B,d] | |
/// | `AmclNtXent` | z [C,2B,d] (rows 0..B view 1, B..2B view 2), phi | |
/// | `AmclMoco` | q [C,B,d], phi | k [C,B,d], queue [C,K,d] |
/// | `AmclMocoV3` | q1, q2 [C,B,d], phi | k1, k2 [C,B,d] |
/// | `AmclSimSiam` | p1, p2 [C,B,d], phi | z1, z2 [C,B,d] |
/// | `AmclBarlowTwins` | z1, z2 [C,B,d], phi (of width B) | |
///
/// phi, the network that makes temperatures, is `phi.0.weight` [h,d], `phi.0.bias` [h], `phi.2.weight` [d,h] and
/// `phi.2.bias` [d], as `torch.nn.Linear` has them: Linear, ReLU, Linear. With [`Adaptive::None`] there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// NT-Xent (Chen et al., 2020; Eq. 1.1).
    NtXent {
        /// Its temperature.
        temperature: Plain,
        /// The positive is in the denominator, as implementations have it, and as MACL needs it.
        positive_in_denominator: bool,
    },
    /// InfoNCE against a queue (He et al., 2020).
    Moco {
        /// Its temperature.
        temperature: Plain,
    },
    /// InfoNCE against the keys of the batch, both directions (Chen et al., 2021).
    MocoV3 {
        /// Its temperature.
        temperature: Plain,
    },
    /// Negative cosine (Chen & He, 2021; Eq. 1.2).
    SimSiam,
    /// Redundancy reduction (Zbontar et al., 2021; Eq. 1.3).
    BarlowTwins {
        /// Weight of the elements off the diagonal.
        lambda: f64,
        /// What makes a channel's deviation over the batch 1.
        standardize: Deviation,
    },
    /// 2 - 2 cos in both directions (Grill et al., 2020).
    Byol,
    /// Invariance, variance and covariance (Bardes et al., 2022).
    VicReg {
        /// Their weights.
        weights: [f64; 3],
    },
    /// AMCL's Eqs. (2.1) and (2.4).
    AmclNtXent(Amcl),
    /// AMCL's Eqs. (2.1) and (2.4), against a queue.
    AmclMoco(Amcl),
    /// AMCL's Eqs. (2.1) and (2.4), against the keys of the batch.
    AmclMocoV3 {
        /// Its settings.
        amcl: Amcl,
        /// Factor on the sum of both directions.
        scale: f64,
    },
    /// AMCL's Eq. (2.2). It has one role, the positive's: [`Adaptive::NegativeOnly`] is refused.
    AmclSimSiam(Amcl),
    /// AMCL's Eq. (2.3).
    AmclBarlowTwins {
        /// Its settings.
        amcl: Amcl,
        /// Weight of the elements off the diagonal.
        lambda: f64,
        /// What makes a channel's deviation over the batch 1.
        standardize: Deviation,
        /// Temperatures on and off the diagonal where they do not adapt.
        constant: [f64; 2],
    },
}

impl Loss {
    /// NT-Xent at a constant temperature, with the positive in the denominator.
    pub fn nt_xent(temperature: f64) -> Self {
        Self::NtXent {
            temperature: Plain::constant(temperature),
            positive_in_denominator: true,
        }
    }

    /// InfoNCE against a queue, at a constant temperature.
    pub fn moco(temperature: f64) -> Self {
        Self::Moco {
            temperature: Plain::constant(temperature),
        }
    }
}

/// A loss and its gradients.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// The loss: mean over anchors, sum over heads.
    pub loss: f64,
    /// Its gradient with respect to each differentiated input, by the input's name.
    pub gradients: BTreeMap<String, Array>,
}

/// A loss and its gradients on a device: in f64 on the CPU ([`Choice::Cpu`], and [`Choice::Auto`] where there is no
/// GPU), in f32 elsewhere.
///
/// NT-Xent of eight pairs, against PyTorch's number for the same file (`tests/golden/make_golden.py`):
///
/// ```
/// use amcl_wgpu::prelude::*;
///
/// let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/nt_xent_b8.safetensors");
/// let stored = LossFile::parse(&std::fs::read(path)?)?.tensors;
/// let inputs = [("z1", &stored["z1"]), ("z2", &stored["z2"])];
/// let got = evaluate(&Loss::nt_xent(0.5), &inputs, &Choice::Cpu)?;
/// assert!((got.loss - 1.496_406_900_150_173_9).abs() < 1e-12);
/// // PyTorch's gradients are stored as f32.
/// let (ours, theirs) = (&got.gradients["z1"], &stored["grad.z1"]);
/// assert_eq!(ours.shape, [8, 16]);
/// assert!(ours.values.iter().zip(&theirs.values).all(|(a, b)| (a - b).abs() < 1e-7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A missing input, shapes that do not fit each other, impossible settings; no such device.
pub fn evaluate(
    loss: &Loss,
    inputs: &[(&str, &Array)],
    device: &Choice,
) -> Result<Evaluated, LossError> {
    let named = |name: &str| {
        let found = inputs.iter().find(|(n, _)| *n == name);
        found.map(|(_, array)| *array)
    };
    evaluate_on(open(device)?.as_mut(), loss, &named)
}

/// The executor for a loss by itself.
fn open(device: &Choice) -> Result<Box<dyn Executor>, LossError> {
    if *device == Choice::Cpu {
        return Ok(Box::new(HostExecutor::<f64>::new()));
    }
    // A loss has small products: exact ones rather than fast ones.
    let options = Options {
        no_cooperative: true,
        ..Options::default()
    };
    match Device::open(device, options) {
        Ok(gpu) => Ok(Box::new(GpuExecutor::new(gpu))),
        Err(DeviceError::NoAdapter(_)) if *device == Choice::Auto => open(&Choice::Cpu),
        Err(e) => Err(GraphError::from(e).into()),
    }
}

/// [`evaluate`] on an executor that the caller has, of inputs that are found by their names.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_on<'a>(
    exec: &mut dyn Executor,
    loss: &Loss,
    named: &dyn Fn(&str) -> Option<&'a Array>,
) -> Result<Evaluated, LossError> {
    let mut inputs = Inputs {
        named,
        graph: Graph::new(),
        list: Vec::new(),
    };
    let output = inputs.build(loss)?;
    let Inputs {
        mut graph, list, ..
    } = inputs;
    let of_gradient: Vec<&Input<'_>> = list.iter().filter(|i| i.differentiated).collect();
    let wrt: Vec<TensorId> = of_gradient.iter().map(|i| i.id).collect();
    let gradients = ops::backward(&mut graph, output.loss, &wrt)?;
    let mut wanted = vec![output.loss];
    wanted.extend(gradients.iter().flatten());
    let data: Vec<(TensorId, HostData)> = list.iter().map(|i| (i.id, i.data())).collect();
    let mut got = exec.evaluate(&graph, &data, &wanted)?.into_iter();
    let value = got.next().map(|d| d.to_f64());
    let mut out = BTreeMap::new();
    for (input, gradient) in of_gradient.iter().zip(&gradients) {
        let computed = gradient.and_then(|_| got.next()).map(|d| d.to_f64());
        let values = computed.unwrap_or_else(|| vec![0.0; graph.ty(input.id).elements()]);
        let mut rest = &values[..];
        for (name, array) in &input.arrays {
            let (part, tail) = rest.split_at(array.values.len());
            rest = tail;
            let part = part.iter().copied();
            out.insert((*name).to_string(), Array::new(&array.shape, part));
        }
    }
    Ok(Evaluated {
        loss: value.map_or(f64::NAN, |v| v[0]),
        gradients: out,
    })
}

/// An input of the graph: one tensor, or several behind each other.
struct Input<'a> {
    id: TensorId,
    arrays: Vec<(&'static str, &'a Array)>,
    differentiated: bool,
}

impl Input<'_> {
    fn data(&self) -> HostData {
        let values = self.arrays.iter().flat_map(|(_, a)| &a.values);
        HostData::F64(values.copied().collect())
    }
}

/// The graph of a loss under construction.
struct Inputs<'a, 'n> {
    named: &'n dyn Fn(&str) -> Option<&'a Array>,
    graph: Graph,
    list: Vec<Input<'a>>,
}

impl<'a> Inputs<'a, '_> {
    /// An input of `rank` dimensions, none of them zero.
    fn find(&self, name: &str, rank: usize) -> Result<&'a Array, LossError> {
        let array = (self.named)(name)
            .ok_or_else(|| bad(format!("needs a tensor `{name}` of float32 or float64")))?;
        let count: usize = array.shape.iter().product();
        if array.shape.len() != rank || count == 0 {
            return Err(bad(format!(
                "`{name}` has shape {:?}, expected {rank} dimensions, none of them 0",
                array.shape
            )));
        }
        if array.values.len() != count {
            return Err(bad(format!(
                "`{name}` has {} values, but its shape {:?} has {count}",
                array.values.len(),
                array.shape
            )));
        }
        Ok(array)
    }

    /// Adds tensors as one input of the shape `shape`.
    fn add(
        &mut self,
        arrays: &[(&'static str, &'a Array)],
        shape: &[usize],
        differentiated: bool,
    ) -> TensorId {
        let id = self.graph.input(arrays[0].0, TensorType::f32(shape));
        self.list.push(Input {
            id,
            arrays: arrays.to_vec(),
            differentiated,
        });
        id
    }

    /// Adds tensors of one shape, each as [c,rows,d]: with `rank` 2, c is 1.
    fn alike<const N: usize>(
        &mut self,
        rank: usize,
        names: [(&'static str, bool); N],
    ) -> Result<[TensorId; N], LossError> {
        let first = self.find(names[0].0, rank)?;
        let mut found = names.map(|(name, differentiated)| (name, first, differentiated));
        for (name, array, _) in &mut found {
            *array = self.find(name, rank)?;
            if array.shape != first.shape {
                return Err(bad(format!(
                    "`{}` has shape {:?}, but `{name}` {:?}",
                    names[0].0, first.shape, array.shape
                )));
            }
        }
        let shape = [&[1][rank - 2..], &first.shape].concat();
        Ok(found.map(|(name, array, differentiated)| {
            self.add(&[(name, array)], &shape, differentiated)
        }))
    }

    /// MoCo's queue beside queries of the given rank.
    fn queue(&mut self, rank: usize, q: TensorId) -> Result<TensorId, LossError> {
        let queue = self.find("queue", rank)?;
        let shape = [&[1][rank - 2..], &queue.shape].concat();
        let d = self.graph.dims(q);
        if (shape[0], shape[2]) != (d[0], d[2]) {
            return Err(bad(format!(
                "`queue` has shape {shape:?}, expected [{}, K, {}] as `q` has it",
                d[0], d[2]
            )));
        }
        Ok(self.add(&[("queue", queue)], &shape, false))
    }

    /// phi's layers for vectors of length `d`; none where the temperature is constant.
    fn phi(&mut self, a: &Amcl, d: usize) -> Result<Vec<TensorId>, LossError> {
        a.validate().map_err(bad)?;
        if a.adaptive == Adaptive::None {
            return Ok(Vec::new());
        }
        let h = self.find("phi.0.weight", 2)?.shape[0];
        let layers: [(&str, &[usize]); 4] = [
            ("phi.0.weight", &[h, d]),
            ("phi.0.bias", &[h]),
            ("phi.2.weight", &[d, h]),
            ("phi.2.bias", &[d]),
        ];
        let mut out = Vec::new();
        for (name, shape) in layers {
            let array = self.find(name, shape.len())?;
            if array.shape != shape {
                return Err(bad(format!(
                    "`{name}` has shape {:?}, expected {shape:?}",
                    array.shape
                )));
            }
            out.push(self.add(&[(name, array)], shape, true));
        }
        Ok(out)
    }

    /// Appends the loss.
    fn build(&mut self, loss: &Loss) -> Result<LossOutput, LossError> {
        let predictions = [("p1", true), ("z1", false), ("p2", true), ("z2", false)];
        let queries = [("q1", true), ("q2", true), ("k1", false), ("k2", false)];
        Ok(match loss {
            Loss::NtXent {
                temperature,
                positive_in_denominator,
            } => {
                let t = checked(temperature)?;
                let arrays = [("z1", self.find("z1", 2)?), ("z2", self.find("z2", 2)?)];
                let shape = &arrays[0].1.shape;
                if arrays[1].1.shape != *shape {
                    return Err(bad("z1 and z2 differ in shape"));
                }
                let z = self.add(&arrays, &[1, 2 * shape[0], shape[1]], true);
                nt_xent(&mut self.graph, z, t, *positive_in_denominator, Path::Auto)?
            }
            Loss::Moco { temperature } => {
                let t = checked(temperature)?;
                let [q, k] = self.alike(2, [("q", true), ("k", false)])?;
                let queue = self.queue(2, q)?;
                moco(&mut self.graph, q, k, queue, t)?
            }
            Loss::MocoV3 { temperature } => {
                let t = checked(temperature)?;
                let [q1, q2, k1, k2] = self.alike(2, queries)?;
                mocov3(&mut self.graph, [q1, q2], [k1, k2], t)?
            }
            Loss::SimSiam => {
                let [p1, z1, p2, z2] = self.alike(2, predictions)?;
                simsiam(&mut self.graph, (p1, z1), (p2, z2))?
            }
            Loss::Byol => {
                let [p1, z1, p2, z2] = self.alike(2, predictions)?;
                byol(&mut self.graph, (p1, z1), (p2, z2))?
            }
            Loss::BarlowTwins {
                lambda,
                standardize,
            } => {
                let of = redundancy(*lambda, *standardize, [1.0; 2])?;
                let [z1, z2] = self.alike(2, [("z1", true), ("z2", true)])?;
                barlow_twins(&mut self.graph, z1, z2, &of)?
            }
            Loss::VicReg { weights } => {
                if weights.iter().any(|w| !(w.is_finite() && *w >= 0.0)) {
                    return Err(bad(format!("weights of VICReg are {weights:?}")));
                }
                let views = self.alike(2, [("z1", true), ("z2", true)])?;
                self.vicreg(views, *weights)?
            }
            Loss::AmclNtXent(a) => {
                let [z] = self.alike(3, [("z", true)])?;
                let phi = self.phi(a, self.graph.dims(z)[2])?;
                scored(&phi, false, |s| amcl(&mut self.graph, z, a, s, Path::Auto))?
            }
            Loss::AmclMoco(a) => {
                let [q, k] = self.alike(3, [("q", true), ("k", false)])?;
                let queue = self.queue(3, q)?;
                let phi = self.phi(a, self.graph.dims(q)[2])?;
                scored(&phi, false, |s| {
                    amcl_moco(&mut self.graph, q, k, queue, a, s)
                })?
            }
            Loss::AmclMocoV3 { amcl: a, scale } => {
                let [q1, q2, k1, k2] = self.alike(3, queries)?;
                let phi = self.phi(a, self.graph.dims(q1)[2])?;
                scored(&phi, false, |s| {
                    amcl_mocov3(&mut self.graph, [q1, q2], [k1, k2], a, *scale, s)
                })?
            }
            Loss::AmclSimSiam(a) => {
                if a.adaptive == Adaptive::NegativeOnly {
                    return Err(bad(
                        "kind amcl_simsiam has no negatives whose temperature could adapt: config.adaptive is \
                         full (positive_only is the same here), first_head or none",
                    ));
                }
                let [p1, z1, p2, z2] = self.alike(3, predictions)?;
                let phi = self.phi(a, self.graph.dims(p1)[2])?;
                scored(&phi, false, |s| {
                    amcl_simsiam(&mut self.graph, (p1, z1), (p2, z2), a, s)
                })?
            }
            Loss::AmclBarlowTwins {
                amcl,
                lambda,
                standardize,
                constant,
            } => {
                let of = redundancy(*lambda, *standardize, *constant)?;
                let [z1, z2] = self.alike(3, [("z1", true), ("z2", true)])?;
                // Channel vectors are as long as the batch.
                let phi = self.phi(amcl, self.graph.dims(z1)[1])?;
                scored(&phi, true, |s| {
                    amcl_barlow_twins(&mut self.graph, z1, z2, &of, amcl, s)
                })?
            }
        })
    }
}

impl Inputs<'_, '_> {
    /// VICReg's loss of z1, z2 [1,B,d], with the cosines of their rows.
    fn vicreg(&mut self, z: [TensorId; 2], weights: [f64; 3]) -> Result<LossOutput, LossError> {
        let g = &mut self.graph;
        let (mut unit, mut rows) = (Vec::new(), Vec::new());
        for t in z {
            let shape = [g.dims(t)[1], g.dims(t)[2]];
            if shape[0] < 2 {
                return Err(bad("VICReg's variance needs at least two rows"));
            }
            unit.push(g.l2_normalize(t)?);
            rows.push(g.reshape(t, shape)?);
        }
        let loss = vicreg(g, rows[0], rows[1], weights)?;
        let similarity = g.row_dot(unit[0], unit[1])?;
        Ok(LossOutput::of_pairs(loss, similarity, None, Pairs::All))
    }
}

/// A temperature that is one.
fn checked(t: &Plain) -> Result<&Plain, LossError> {
    match t.tau.is_finite() && t.tau > 0.0 {
        true => Ok(t),
        false => Err(bad(format!("the temperature is {}, not positive", t.tau))),
    }
}

/// Settings of the redundancy losses.
fn redundancy(
    lambda: f64,
    standardize: Deviation,
    constant: [f64; 2],
) -> Result<Redundancy, LossError> {
    if !lambda.is_finite() {
        return Err(bad(format!("lambda is {lambda}")));
    }
    for t in constant {
        checked(&Plain::constant(t))?;
    }
    Ok(Redundancy {
        lambda,
        standardize,
        constant,
        path: Path::Auto,
    })
}

/// The loss that `build` makes with a scorer of phi's four tensors: Linear, ReLU, Linear on the rows of z [c,n,d], or
/// on its `columns`.
fn scored(
    layers: &[TensorId],
    columns: bool,
    build: impl FnOnce(Scorer<'_>) -> Result<LossOutput, GraphError>,
) -> Result<LossOutput, GraphError> {
    let mut phi = |g: &mut Graph, z: TensorId| {
        let [w0, b0, w1, b1] = layers else {
            return Err(GraphError::Invalid("phi has four tensors".into()));
        };
        let second = Gemm {
            trans_b: true,
            bias: true,
            ..Gemm::default()
        };
        let first = Gemm {
            trans_a: columns,
            relu: true,
            ..second
        };
        let x = g.push1(first, &[z, *w0, *b0])?;
        g.push1(second, &[x, *w1, *b1])
    };
    build(Scorer {
        phi: &mut phi,
        gain: None,
    })
}

#[cfg(test)]
mod tests;
