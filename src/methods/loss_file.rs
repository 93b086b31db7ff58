//! Losses and gradients of embeddings in a safetensors file, so that anyone can check an implementation against this one.
//!
//! The header's `meta` is JSON with `kind` and `config`; tensors are the inputs (float32), `phi.*` in `torch.nn.Linear`'s layout, and for verification `loss` and
//! `grad.*`. Kinds: `nt_xent` (z1, z2 [B,d]) and `amcl_ntxent` (z [C,2B,d']).

use super::loss::{self, Adaptive, Amcl, NegOmega, Negatives};
use crate::graph::{Executor, Graph, GraphError, HostData, StepScalars, TensorId, TensorType};
use crate::ops;
use crate::ops::gemm::Gemm;
use safetensors::{Dtype, SafeTensors};
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
    /// `nt_xent` or `amcl_ntxent`.
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
                other => {
                    return Err(bad(format!(
                        "tensor `{name}` is {other:?}, expected float32 or float64"
                    )));
                }
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

    fn number(&self, key: &str, default: f64) -> f64 {
        self.config[key].as_f64().unwrap_or(default)
    }

    fn amcl(&self) -> Result<Amcl, LossFileError> {
        let word =
            |key: &str, default: &str| self.config[key].as_str().unwrap_or(default).to_string();
        let parse = |v: String| serde_json::from_value::<Negatives>(Value::String(v));
        let eta = self.number("eta", 1e-5);
        Ok(Amcl {
            negatives: parse(word("negatives", "max"))
                .map_err(|e| bad(format!("negatives: {e}")))?,
            kappa: self.number("kappa", 100.0) as usize,
            neg_omega: serde_json::from_value::<NegOmega>(word("neg_omega", "mean").into())
                .map_err(|e| bad(format!("neg_omega: {e}")))?,
            adaptive: serde_json::from_value::<Adaptive>(word("adaptive", "full").into())
                .map_err(|e| bad(format!("adaptive: {e}")))?,
            tau_const: self.number("tau_const", 0.5) as f32,
            include_positive: self.config["include_positive"].as_bool().unwrap_or(false),
            beta: self.number("beta", 0.0) as f32,
            tau_min: eta as f32,
            tau_max: (eta + self.number("iota", 2.0 - 1e-5)) as f32,
            ..Amcl::default()
        })
    }

    fn tensor(&self, name: &str, rank: usize) -> Result<&Array, LossFileError> {
        let t = self
            .tensors
            .get(name)
            .ok_or_else(|| bad(format!("kind {} needs a tensor `{name}`", self.kind)))?;
        if t.shape.len() == rank {
            Ok(t)
        } else {
            Err(bad(format!(
                "`{name}` has shape {:?}, expected {rank} dimensions",
                t.shape
            )))
        }
    }

    /// Evaluates the loss and its gradients.
    ///
    /// # Errors
    /// A kind that is not built, missing tensors, shapes that do not fit.
    pub fn evaluate(&self, exec: &mut dyn Executor) -> Result<Evaluated, LossFileError> {
        let mut g = Graph::new();
        let mut inputs: Vec<(String, TensorId, Array)> = Vec::new();
        let mut add = |g: &mut Graph, name: &str, a: Array| {
            let id = g.input(name, TensorType::f32(a.shape.as_slice()));
            inputs.push((name.to_string(), id, a));
            id
        };
        let built = match self.kind.as_str() {
            "nt_xent" => {
                let (z1, z2) = (self.tensor("z1", 2)?, self.tensor("z2", 2)?);
                if z1.shape != z2.shape {
                    return Err(bad("z1 and z2 differ in shape"));
                }
                let values = [z1.values.clone(), z2.values.clone()].concat();
                let z = add(
                    &mut g,
                    "z",
                    Array {
                        shape: vec![1, 2 * z1.shape[0], z1.shape[1]],
                        values,
                    },
                );
                loss::nt_xent(&mut g, z, self.number("tau", 0.5) as f32)?
            }
            "amcl_ntxent" => {
                let amcl = self.amcl()?;
                let z = add(&mut g, "z", self.tensor("z", 3)?.clone());
                let mut layers = Vec::new();
                if amcl.adaptive != Adaptive::None {
                    for (name, rank) in [
                        ("phi.0.weight", 2),
                        ("phi.0.bias", 1),
                        ("phi.2.weight", 2),
                        ("phi.2.bias", 1),
                    ] {
                        layers.push(add(&mut g, name, self.tensor(name, rank)?.clone()));
                    }
                }
                loss::build(&mut g, z, &amcl, |g, zn| {
                    let op = Gemm {
                        trans_b: true,
                        bias: true,
                        ..Gemm::default()
                    };
                    let x = g.push1(Gemm { relu: true, ..op }, &[zn, layers[0], layers[1]])?;
                    g.push1(op, &[x, layers[2], layers[3]])
                })?
            }
            other => {
                return Err(bad(format!(
                    "the loss `{other}` is not built in this version; there are nt_xent and amcl_ntxent"
                )));
            }
        };
        let wrt: Vec<TensorId> = inputs.iter().map(|i| i.1).collect();
        let grads = ops::backward(&mut g, built.loss, &wrt)?;
        let mut fetch = vec![built.loss];
        fetch.extend(grads.iter().flatten());
        let program = exec.compile(&g, &fetch)?;
        for (_, id, a) in &inputs {
            exec.upload(program, *id, &HostData::F64(a.values.clone()))?;
        }
        exec.run(program, &StepScalars::default())?;
        let loss = exec.fetch(program, built.loss)?.to_f64()[0];
        let mut gradients = BTreeMap::new();
        for ((name, _, a), grad) in inputs.iter().zip(&grads) {
            let values = match grad {
                Some(t) => exec.fetch(program, *t)?.to_f64(),
                None => vec![0.0; a.values.len()],
            };
            if self.kind == "nt_xent" {
                let shape = a.shape[1..].to_vec();
                let half = values.len() / 2;
                for (n, part) in [("grad.z1", &values[..half]), ("grad.z2", &values[half..])] {
                    gradients.insert(
                        n.into(),
                        Array {
                            shape: vec![shape[0] / 2, shape[1]],
                            values: part.to_vec(),
                        },
                    );
                }
            } else {
                gradients.insert(
                    format!("grad.{name}"),
                    Array {
                        shape: a.shape.clone(),
                        values,
                    },
                );
            }
        }
        Ok(Evaluated { loss, gradients })
    }

    /// Errors against what the file stores: name, relative error, bound. The loss: max(20 guide, 1e-5); a gradient: relative L2 norm, max(20 guide, 2e-5).
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
