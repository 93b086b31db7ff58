//! Losses and gradients of embeddings in a safetensors file, so that anyone can check an implementation against this
//! one.
//!
//! The header's `meta` is JSON with `kind` and `config`; tensors are the inputs (float32 or float64, un-normalised,
//! under the names that [`Loss`] lists), and for verification `loss` and `grad.*`. Kinds: `nt_xent` and `moco` (with
//! `macl_alpha` and `macl_a0`: MACL), `macl`, `mocov3`, `simsiam`, `byol`, `barlow`, `vicreg`, `amcl_ntxent`,
//! `amcl_moco`, `amcl_mocov3`, `amcl_simsiam`, `amcl_barlow`.
//!
//! `macl` is NT-Xent's form, or MoCo's where the file has a `queue`; `config.tau`, `alpha` and `a0` are 0.1, 0.5 and 0
//! where the file does not say. `vicreg` has `config.weights`, [25, 25, 1]. `barlow` and `amcl_barlow` have
//! `config.standardize`: `unbiased` (the default: files from before the key mean it) or `batch_norm`. `mocov3` has
//! `config.tau`, 0.2; `amcl_mocov3` `config.scale`, 0.5, and `include_positive`, true (false in the other kinds).
//!
//! `config.adaptive` says whose temperature comes from phi: `full` (the default), `positive_only`, `negative_only`,
//! `first_head`, or `none`, for which the file needs no phi. Other roles have `tau_const`; in `amcl_barlow`,
//! `tau_diagonal` and `tau_off_diagonal` (1 each) without Omega. `amcl_simsiam` has one role: `none` is its negative
//! cosine over `tau_const`, `negative_only` is refused.

use super::loss::evaluate::{Array, Evaluated, Loss, LossError, evaluate_on};
use super::loss::macl::Macl;
use super::loss::{Adaptive, Amcl, NegOmega, Negatives, Plain, TEMPERATURE};
use crate::fixture::{Fixture, Values};
use crate::graph::Executor;
use crate::ops::standardize_columns::Deviation;
use crate::settings::{Range, between, check_range};
use safetensors::Dtype;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

fn bad(reason: impl Into<String>) -> LossError {
    LossError::Input(reason.into())
}

/// A parsed file.
#[derive(Clone, Debug)]
pub struct LossFile {
    /// Which loss.
    pub kind: String,
    config: Value,
    /// All tensors of float32 and float64.
    pub tensors: BTreeMap<String, Array>,
    /// Names and types of the others.
    others: Vec<(String, Dtype)>,
    /// Guides of the fixture's maker: relative error of a float32 loss, and of its gradients.
    pub guide: (f64, f64),
}

impl LossFile {
    /// Parses the bytes of a file.
    ///
    /// # Errors
    /// No safetensors file, no `meta`, tensors of another type.
    pub fn parse(bytes: &[u8]) -> Result<Self, LossError> {
        let fixture = Fixture::parse(bytes).map_err(|e| bad(e.0))?;
        Ok(Self::of(&fixture))
    }

    /// The loss file that a parsed file is.
    pub fn of(fixture: &Fixture) -> Self {
        let (mut tensors, mut others) = (BTreeMap::new(), Vec::new());
        for (name, stored) in &fixture.tensors {
            match &stored.values {
                Values::Real(values) => {
                    let array = Array::new(&stored.shape, values.iter().copied());
                    tensors.insert(name.clone(), array);
                }
                // Labels and the like, which a loss does not read.
                _ => others.push((name.clone(), stored.dtype)),
            }
        }
        let guide = |key| fixture.guide("float32_guide", key);
        Self {
            kind: fixture.kind.clone(),
            config: fixture.meta["config"].clone(),
            tensors,
            others,
            guide: (guide("loss_rel"), guide("grad_rel_l2_max")),
        }
    }

    /// A setting, or the default where the file has none.
    fn setting<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T, LossError> {
        match &self.config[key] {
            Value::Null => Ok(default),
            v => serde_json::from_value(v.clone())
                .map_err(|e| bad(format!("config.{key} is {v}: {e}"))),
        }
    }

    /// A number, or the default where the file has none.
    fn number(&self, key: &str, default: f64, range: Range) -> Result<f64, LossError> {
        let value = self.setting(key, default)?;
        check_range(&format!("config.{key}"), &value, range).map_err(bad)?;
        Ok(value)
    }

    /// A setting that the file must have.
    fn required(&self, key: &str) -> Result<f64, LossError> {
        match self.setting(key, f64::NAN)? {
            v if v.is_finite() => Ok(v),
            _ => Err(bad(format!("kind {} needs config.{key}", self.kind))),
        }
    }

    /// AMCL's settings; defaults as the reference implementation has them.
    pub(crate) fn amcl(&self, tau_const: f64, include_positive: bool) -> Result<Amcl, LossError> {
        let eta = self.setting("eta", 1e-5)?;
        let a = Amcl {
            negatives: self.setting("negatives", Negatives::Max)?,
            kappa: self.setting("kappa", 100)?,
            neg_omega: self.setting("neg_omega", NegOmega::Mean)?,
            adaptive: self.setting("adaptive", Adaptive::Full)?,
            tau_const: self.setting("tau_const", tau_const)?,
            include_positive: self.setting("include_positive", include_positive)?,
            beta: self.required("beta")?,
            tau_min: eta,
            tau_max: eta + self.setting("iota", 2.0 - 1e-5)?,
            ..Amcl::default()
        };
        a.validate().map_err(bad)?;
        Ok(a)
    }

    /// The loss that the file names, with its settings.
    ///
    /// # Errors
    /// An unknown kind, impossible settings.
    pub fn loss(&self) -> Result<Loss, LossError> {
        let plain = |default: f64| {
            let alpha = self.number("macl_alpha", 0.0, between(0.0, 1.0))?;
            let a0 = self.number("macl_a0", 0.0, between(-1.0, 1.0))?;
            Ok::<_, LossError>(Plain {
                tau: self.number("tau", default, TEMPERATURE)?,
                macl: (alpha != 0.0).then_some(Macl { alpha, a0 }),
            })
        };
        Ok(match self.kind.as_str() {
            "nt_xent" => Loss::NtXent {
                temperature: plain(0.5)?,
                positive_in_denominator: self.setting("positive_in_denominator", true)?,
            },
            "moco" => Loss::Moco {
                temperature: plain(0.1)?,
            },
            "mocov3" => Loss::MocoV3 {
                temperature: plain(0.2)?,
            },
            "simsiam" => Loss::SimSiam,
            "macl" => {
                let temperature = Plain {
                    tau: self.number("tau", 0.1, TEMPERATURE)?,
                    macl: Some(Macl {
                        alpha: self.number("alpha", 0.5, between(0.0, 1.0))?,
                        a0: self.number("a0", 0.0, between(0.0, 1.0))?,
                    }),
                };
                match self.tensors.contains_key("queue") {
                    true => Loss::Moco { temperature },
                    false => Loss::NtXent {
                        temperature,
                        positive_in_denominator: true,
                    },
                }
            }
            "byol" => Loss::Byol,
            "vicreg" => Loss::VicReg {
                weights: self.setting("weights", [25.0, 25.0, 1.0])?,
            },
            "barlow" => Loss::BarlowTwins {
                lambda: self.number("lambda", 5e-3, between(0.0, 1e6))?,
                standardize: self.setting("standardize", Deviation::Unbiased)?,
            },
            "amcl_ntxent" => Loss::AmclNtXent(self.amcl(0.5, false)?),
            "amcl_moco" => Loss::AmclMoco(self.amcl(0.1, false)?),
            "amcl_mocov3" => Loss::AmclMocoV3 {
                amcl: self.amcl(0.2, true)?,
                scale: self.number("scale", 0.5, between(-1e6, 1e6))?,
            },
            "amcl_simsiam" => Loss::AmclSimSiam(self.amcl(0.5, false)?),
            "amcl_barlow" => Loss::AmclBarlowTwins {
                amcl: self.amcl(0.5, false)?,
                lambda: self.number("lambda", 5e-3, between(0.0, 1e6))?,
                standardize: self.setting("standardize", Deviation::Unbiased)?,
                constant: [
                    self.number("tau_diagonal", 1.0, TEMPERATURE)?,
                    self.number("tau_off_diagonal", 1.0, TEMPERATURE)?,
                ],
            },
            other => {
                return Err(bad(format!(
                    "no loss `{other}`; there are nt_xent, moco, macl, mocov3, simsiam, byol, barlow, vicreg, \
                     amcl_ntxent, amcl_moco, amcl_mocov3, amcl_simsiam, amcl_barlow"
                )));
            }
        })
    }

    /// Evaluates the loss and its gradients.
    ///
    /// # Errors
    /// As [`LossFile::loss`] and [`evaluate_on`].
    pub fn evaluate(&self, exec: &mut dyn Executor) -> Result<Evaluated, LossError> {
        evaluate_on(exec, &self.loss()?, &|name| self.tensors.get(name)).map_err(|e| match e {
            LossError::Input(reason) => bad(format!("kind {}: {reason}", self.kind)),
            other => other,
        })
    }

    /// Errors against what the file stores: name, relative error, bound. The loss: max(20 guide, 1e-5); a gradient:
    /// relative L2 norm, max(20 guide, 2e-5).
    ///
    /// # Errors
    /// A stored gradient that was not computed, has another shape than its input or is neither float32 nor float64; no
    /// stored loss of one value.
    pub fn compare(&self, e: &Evaluated) -> Result<Vec<(String, f64, f64)>, LossError> {
        let compared = |name: &str| name == "loss" || name.starts_with("grad.");
        if let Some((name, dtype)) = self.others.iter().find(|(name, _)| compared(name)) {
            return Err(bad(format!(
                "the stored `{name}` is {dtype:?}: only F32 and F64 can be compared"
            )));
        }
        let want = match self.tensors.get("loss") {
            None => return Err(bad("the file stores no `loss` to compare with")),
            Some(Array { values, .. }) if values.len() == 1 => values[0],
            Some(Array { shape, .. }) => {
                return Err(bad(format!(
                    "the stored `loss` has shape {shape:?}, expected one value"
                )));
            }
        };
        let mut out = vec![(
            "loss".to_string(),
            (e.loss - want).abs() / want.abs().max(1e-30),
            (20.0 * self.guide.0).max(1e-5),
        )];
        for (name, stored) in &self.tensors {
            let Some(input) = name.strip_prefix("grad.") else {
                continue;
            };
            let got = e
                .gradients
                .get(input)
                .ok_or_else(|| bad(format!("the file stores `{name}`, which is not computed")))?;
            if got.shape != stored.shape {
                return Err(bad(format!(
                    "the stored `{name}` has shape {:?}, but `{input}` has {:?}",
                    stored.shape, got.shape
                )));
            }
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

    /// Names of the gradients that were computed and that the file does not store.
    pub fn not_stored(&self, e: &Evaluated) -> Vec<String> {
        let names = e.gradients.keys().map(|input| format!("grad.{input}"));
        names.filter(|n| !self.tensors.contains_key(n)).collect()
    }
}
