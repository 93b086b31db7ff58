//! Losses and gradients of embeddings in a safetensors file, so that anyone can check an implementation against this
//! one.
//!
//! The header's `meta` is JSON with `kind` and `config`; tensors are the inputs (float32), `phi.*` in
//! `torch.nn.Linear`'s layout, and for verification `loss` and `grad.*`. Kinds and their inputs, un-normalised:
//!
//! | kind | differentiated | constant |
//! |---|---|---|
//! | `nt_xent` (with `macl_alpha`, `macl_a0`: MACL) | z1, z2 [B,d] | |
//! | `moco` (likewise) | q [B,d] | k [B,d], queue [K,d] |
//! | `simsiam` | p1, p2 [B,d] | z1, z2 [B,d] |
//! | `barlow` | z1, z2 [B,d] | |
//! | `amcl_ntxent` | z [C,2B,d], phi | |
//! | `amcl_moco` | q [C,B,d], phi | k [C,B,d], queue [C,K,d] |
//! | `amcl_simsiam` | p1, p2 [C,B,d], phi | z1, z2 [C,B,d] |
//! | `amcl_barlow` | z1, z2 [C,B,d], phi (of width B) | |
//!
//! `config.adaptive` says whose temperature comes from phi: `full` (the default), `positive_only`, `negative_only`,
//! `first_head`, or `none`, for which the file needs no phi. Other roles have `tau_const`; in `amcl_barlow`,
//! `tau_diagonal` and `tau_off_diagonal` (1 each) without Omega. `amcl_simsiam` has one role: `none` is its negative
//! cosine over `tau_const`, `negative_only` is refused.

use super::loss::barlow_twins::{Redundancy, amcl_barlow_twins, barlow_twins};
use super::loss::contrastive::{amcl, amcl_moco, moco, nt_xent};
use super::loss::macl::Macl;
use super::loss::simsiam::{amcl_simsiam, simsiam};
use super::loss::{Adaptive, Amcl, LossOutput, NegOmega, Negatives, Path, Plain, Scorer};
use crate::graph::{Executor, Graph, GraphError, HostData, StepScalars, TensorId, TensorType};
use crate::ops;
use crate::ops::gemm::Gemm;
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

/// Why a file could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum LossFileError {
    /// The file is not what it should be.
    #[error("{0}")]
    Format(String),
    /// The loss could not be computed.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

fn bad(reason: impl Into<String>) -> LossFileError {
    LossFileError::Format(reason.into())
}

/// A tensor of a file, as f64.
#[derive(Clone, Debug)]
pub struct Array {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Values.
    pub values: Vec<f64>,
}

/// A parsed file.
#[derive(Clone, Debug)]
pub struct LossFile {
    /// Which loss.
    pub kind: String,
    config: Value,
    /// All tensors.
    pub tensors: BTreeMap<String, Array>,
    /// Guides of the fixture's maker: relative error of a float32 loss, and of its gradients.
    pub guide: (f64, f64),
}

/// What was computed: the loss, then gradients by name (`grad.z`, `grad.phi.0.weight`).
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// The loss.
    pub loss: f64,
    /// Gradients.
    pub gradients: BTreeMap<String, Array>,
}

impl LossFile {
    /// Parses the bytes of a file.
    ///
    /// # Errors
    /// No safetensors file, no `meta`, tensors of another type.
    pub fn parse(bytes: &[u8]) -> Result<Self, LossFileError> {
        let (_, header) = SafeTensors::read_metadata(bytes)
            .map_err(|e| bad(format!("no safetensors file: {e}")))?;
        let meta = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get("meta"))
            .ok_or_else(|| bad("the header has no `meta` entry"))?;
        let meta: Value =
            serde_json::from_str(meta).map_err(|e| bad(format!("`meta` is no JSON: {e}")))?;
        let kind = meta["kind"]
            .as_str()
            .ok_or_else(|| bad("`meta` names no kind"))?
            .to_string();
        let st = SafeTensors::deserialize(bytes)
            .map_err(|e| bad(format!("no safetensors file: {e}")))?;
        let mut tensors = BTreeMap::new();
        for (name, t) in st.tensors() {
            let values = match t.dtype() {
                Dtype::F32 => t
                    .data()
                    .chunks_exact(4)
                    .map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
                    .collect(),
                Dtype::F64 => t
                    .data()
                    .chunks_exact(8)
                    .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
                    .collect(),
                // Of no use to a loss: labels and the like.
                _ => continue,
            };
            tensors.insert(
                name,
                Array {
                    shape: t.shape().to_vec(),
                    values,
                },
            );
        }
        let g = &meta["float32_guide"];
        let guide = (
            g["loss_rel"].as_f64().unwrap_or(0.0),
            g["grad_rel_l2_max"].as_f64().unwrap_or(0.0),
        );
        Ok(Self {
            kind,
            config: meta["config"].clone(),
            tensors,
            guide,
        })
    }

    /// A setting, or the default where the file has none.
    fn setting<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T, LossFileError> {
        match &self.config[key] {
            Value::Null => Ok(default),
            v => serde_json::from_value(v.clone())
                .map_err(|e| bad(format!("config.{key} is {v}: {e}"))),
        }
    }

    /// A setting that the file must have.
    fn required(&self, key: &str) -> Result<f64, LossFileError> {
        match self.setting(key, f64::NAN)? {
            v if v.is_finite() => Ok(v),
            _ => Err(bad(format!("kind {} needs config.{key}", self.kind))),
        }
    }

    /// AMCL's settings; defaults as the reference implementation has them.
    fn amcl(&self, tau_const: f64) -> Result<Amcl, LossFileError> {
        let eta = self.setting("eta", 1e-5)?;
        let a = Amcl {
            negatives: self.setting("negatives", Negatives::Max)?,
            kappa: self.setting("kappa", 100)?,
            neg_omega: self.setting("neg_omega", NegOmega::Mean)?,
            adaptive: self.setting("adaptive", Adaptive::Full)?,
            tau_const: self.setting("tau_const", tau_const)?,
            include_positive: self.setting("include_positive", false)?,
            beta: self.required("beta")?,
            tau_min: eta,
            tau_max: eta + self.setting("iota", 2.0 - 1e-5)?,
            ..Amcl::default()
        };
        a.validate().map_err(bad)?;
        Ok(a)
    }

    /// A tensor of the file; `rank` dimensions, none of them zero.
    fn tensor(&self, name: &str, rank: usize) -> Result<&Array, LossFileError> {
        let t = self.tensors.get(name).ok_or_else(|| {
            let kind = &self.kind;
            bad(format!(
                "kind {kind} needs a tensor `{name}` of float32 or float64"
            ))
        })?;
        if t.shape.len() == rank && !t.shape.contains(&0) {
            Ok(t)
        } else {
            Err(bad(format!(
                "`{name}` has shape {:?}, expected {rank} dimensions, none of them 0",
                t.shape
            )))
        }
    }

    /// Evaluates the loss and its gradients.
    ///
    /// # Errors
    /// An unknown kind, missing tensors, impossible settings, shapes that do not fit.
    pub fn evaluate(&self, exec: &mut dyn Executor) -> Result<Evaluated, LossFileError> {
        let mut inputs = Inputs {
            file: self,
            graph: Graph::new(),
            list: Vec::new(),
        };
        let built = inputs.build()?;
        let Inputs {
            mut graph, list, ..
        } = inputs;
        let wrt: Vec<TensorId> = list
            .iter()
            .filter(|i| i.differentiated)
            .map(|i| i.id)
            .collect();
        let grads = ops::backward(&mut graph, built.loss, &wrt)?;
        let mut fetch = vec![built.loss];
        fetch.extend(grads.iter().flatten());
        let program = exec.compile(&graph, &fetch)?;
        for i in &list {
            exec.upload(program, i.id, &HostData::F64(i.values.clone()))?;
        }
        exec.run(program, &StepScalars::default())?;
        let loss = exec.fetch(program, built.loss)?.to_f64()[0];
        let mut gradients = BTreeMap::new();
        for (input, grad) in list.iter().filter(|i| i.differentiated).zip(&grads) {
            let values = match grad {
                Some(t) => exec.fetch(program, *t)?.to_f64(),
                None => vec![0.0; input.values.len()],
            };
            let mut rest = &values[..];
            for name in &input.tensors {
                let shape = self.tensors[name].shape.clone();
                let (part, tail) = rest.split_at(shape.iter().product());
                rest = tail;
                let values = part.to_vec();
                gradients.insert(format!("grad.{name}"), Array { shape, values });
            }
        }
        Ok(Evaluated { loss, gradients })
    }

    /// Errors against what the file stores: name, relative error, bound. The loss: max(20 guide, 1e-5); a gradient:
    /// relative L2 norm, max(20 guide, 2e-5).
    ///
    /// # Errors
    /// A stored gradient that was not computed, or no stored loss.
    pub fn compare(&self, e: &Evaluated) -> Result<Vec<(String, f64, f64)>, LossFileError> {
        let want = self
            .tensors
            .get("loss")
            .and_then(|l| l.values.first())
            .ok_or_else(|| bad("the file stores no `loss` to compare with"))?;
        let mut out = vec![(
            "loss".to_string(),
            (e.loss - want).abs() / want.abs().max(1e-30),
            (20.0 * self.guide.0).max(1e-5),
        )];
        for (name, stored) in self.tensors.iter().filter(|t| t.0.starts_with("grad.")) {
            let got = e
                .gradients
                .get(name)
                .ok_or_else(|| bad(format!("the file stores `{name}`, which is not computed")))?;
            let diff: f64 = got
                .values
                .iter()
                .zip(&stored.values)
                .map(|(a, b)| (a - b) * (a - b))
                .sum();
            let norm: f64 = stored.values.iter().map(|b| b * b).sum();
            out.push((
                name.clone(),
                (diff / norm.max(1e-60)).sqrt(),
                (20.0 * self.guide.1).max(2e-5),
            ));
        }
        Ok(out)
    }
}

/// An input of the graph: one tensor of the file, or several behind each other.
struct Input {
    id: TensorId,
    tensors: Vec<String>,
    values: Vec<f64>,
    differentiated: bool,
}

/// The graph of a file under construction.
struct Inputs<'a> {
    file: &'a LossFile,
    graph: Graph,
    list: Vec<Input>,
}

impl Inputs<'_> {
    /// Adds tensors of the file as one input of shape `shape`.
    fn add(&mut self, names: &[&str], shape: &[usize], differentiated: bool) -> TensorId {
        let id = self.graph.input(names[0], TensorType::f32(shape));
        let values = names
            .iter()
            .flat_map(|n| self.file.tensors[*n].values.iter().copied())
            .collect();
        self.list.push(Input {
            id,
            tensors: names.iter().map(|n| (*n).to_string()).collect(),
            values,
            differentiated,
        });
        id
    }

    /// Adds tensors of one shape, each as [c,rows,d]: with `rank` 2, c is 1.
    fn alike<const N: usize>(
        &mut self,
        rank: usize,
        names: [(&str, bool); N],
    ) -> Result<[TensorId; N], LossFileError> {
        let shape = self.file.tensor(names[0].0, rank)?.shape.clone();
        for (name, _) in &names[1..] {
            let other = &self.file.tensor(name, rank)?.shape;
            if *other != shape {
                return Err(bad(format!(
                    "`{}` has shape {shape:?}, but `{name}` {other:?}",
                    names[0].0
                )));
            }
        }
        let shape = [&[1][rank - 2..], &shape].concat();
        Ok(names.map(|(name, differentiated)| self.add(&[name], &shape, differentiated)))
    }

    /// MoCo's queue beside queries of the given rank.
    fn queue(&mut self, rank: usize, q: TensorId) -> Result<TensorId, LossFileError> {
        let shape = self.file.tensor("queue", rank)?.shape.clone();
        let shape = [&[1][rank - 2..], &shape].concat();
        let d = self.graph.dims(q);
        if (shape[0], shape[2]) != (d[0], d[2]) {
            return Err(bad(format!(
                "`queue` has shape {shape:?}, expected [{}, K, {}] as `q` has it",
                d[0], d[2]
            )));
        }
        Ok(self.add(&["queue"], &shape, false))
    }

    /// phi's layers for vectors of length `d`; none where the temperature is constant.
    fn phi(&mut self, a: &Amcl, d: usize) -> Result<Vec<TensorId>, LossFileError> {
        if a.adaptive == Adaptive::None {
            return Ok(Vec::new());
        }
        let h = self.file.tensor("phi.0.weight", 2)?.shape[0];
        let layers: [(&str, &[usize]); 4] = [
            ("phi.0.weight", &[h, d]),
            ("phi.0.bias", &[h]),
            ("phi.2.weight", &[d, h]),
            ("phi.2.bias", &[d]),
        ];
        let mut out = Vec::new();
        for (name, shape) in layers {
            let got = &self.file.tensor(name, shape.len())?.shape;
            if got != shape {
                return Err(bad(format!(
                    "`{name}` has shape {got:?}, expected {shape:?}"
                )));
            }
            out.push(self.add(&[name], shape, true));
        }
        Ok(out)
    }

    fn build(&mut self) -> Result<LossOutput, LossFileError> {
        let file = self.file;
        let lambda = || match file.setting("lambda", 5e-3)? {
            v if f64::is_finite(v) => Ok(v),
            v => Err(bad(format!("config.lambda is {v}"))),
        };
        let tau = |key: &str, default: f64| match file.setting(key, default)? {
            v if v.is_finite() && v > 0.0 => Ok(v),
            v => Err(bad(format!("config.{key} is {v}, not positive"))),
        };
        let plain = |default: f64| {
            let alpha = file.setting("macl_alpha", 0.0)?;
            let a0 = file.setting("macl_a0", 0.0)?;
            Ok::<_, LossFileError>(Plain {
                tau: tau("tau", default)?,
                macl: (alpha != 0.0).then_some(Macl { alpha, a0 }),
            })
        };
        Ok(match file.kind.as_str() {
            "nt_xent" => {
                let shape = file.tensor("z1", 2)?.shape.clone();
                if file.tensor("z2", 2)?.shape != shape {
                    return Err(bad("z1 and z2 differ in shape"));
                }
                let z = self.add(&["z1", "z2"], &[1, 2 * shape[0], shape[1]], true);
                let positive = file.setting("positive_in_denominator", true)?;
                nt_xent(&mut self.graph, z, &plain(0.5)?, positive, Path::Auto)?
            }
            "moco" => {
                let [q, k] = self.alike(2, [("q", true), ("k", false)])?;
                let queue = self.queue(2, q)?;
                moco(&mut self.graph, q, k, queue, &plain(0.1)?)?
            }
            "simsiam" => {
                let names = [("p1", true), ("z1", false), ("p2", true), ("z2", false)];
                let [p1, z1, p2, z2] = self.alike(2, names)?;
                simsiam(&mut self.graph, (p1, z1), (p2, z2))?
            }
            "barlow" => {
                let [z1, z2] = self.alike(2, [("z1", true), ("z2", true)])?;
                barlow_twins(&mut self.graph, z1, z2, &redundancy(lambda()?))?
            }
            "amcl_ntxent" => {
                let a = file.amcl(0.5)?;
                let [z] = self.alike(3, [("z", true)])?;
                let phi = self.phi(&a, self.graph.dims(z)[2])?;
                let scorer = Scorer {
                    phi: &mut |g, z| mlp(g, z, &phi, false),
                    gain: None,
                };
                amcl(&mut self.graph, z, &a, scorer, Path::Auto)?
            }
            "amcl_moco" => {
                let a = file.amcl(0.1)?;
                let [q, k] = self.alike(3, [("q", true), ("k", false)])?;
                let queue = self.queue(3, q)?;
                let phi = self.phi(&a, self.graph.dims(q)[2])?;
                let scorer = Scorer {
                    phi: &mut |g, z| mlp(g, z, &phi, false),
                    gain: None,
                };
                amcl_moco(&mut self.graph, q, k, queue, &a, scorer)?
            }
            "amcl_simsiam" => {
                let a = file.amcl(0.5)?;
                if a.adaptive == Adaptive::NegativeOnly {
                    return Err(bad(
                        "kind amcl_simsiam has no negatives whose temperature could adapt: config.adaptive is \
                         full (positive_only is the same here), first_head or none",
                    ));
                }
                let names = [("p1", true), ("z1", false), ("p2", true), ("z2", false)];
                let [p1, z1, p2, z2] = self.alike(3, names)?;
                let phi = self.phi(&a, self.graph.dims(p1)[2])?;
                let scorer = Scorer {
                    phi: &mut |g, z| mlp(g, z, &phi, false),
                    gain: None,
                };
                amcl_simsiam(&mut self.graph, (p1, z1), (p2, z2), &a, scorer)?
            }
            "amcl_barlow" => {
                let a = file.amcl(0.5)?;
                let of = Redundancy {
                    constant: [tau("tau_diagonal", 1.0)?, tau("tau_off_diagonal", 1.0)?],
                    ..redundancy(lambda()?)
                };
                let [z1, z2] = self.alike(3, [("z1", true), ("z2", true)])?;
                // Channel vectors are as long as the batch.
                let phi = self.phi(&a, self.graph.dims(z1)[1])?;
                let scorer = Scorer {
                    phi: &mut |g, z| mlp(g, z, &phi, true),
                    gain: None,
                };
                amcl_barlow_twins(&mut self.graph, z1, z2, &of, &a, scorer)?
            }
            other => {
                return Err(bad(format!(
                    "no loss `{other}`; there are nt_xent, moco, simsiam, barlow, amcl_ntxent, amcl_moco, \
                     amcl_simsiam, amcl_barlow"
                )));
            }
        })
    }
}

/// Eq. (1.3): every temperature is 1.
fn redundancy(lambda: f64) -> Redundancy {
    Redundancy {
        lambda,
        constant: [1.0; 2],
        path: Path::Auto,
    }
}

/// Linear, ReLU, Linear on the rows of z [c,n,d], or on its columns.
fn mlp(
    g: &mut Graph,
    z: TensorId,
    layers: &[TensorId],
    columns: bool,
) -> Result<TensorId, GraphError> {
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
}
