//! The contrastive losses as graphs: NT-Xent and AMCL, Eqs. (2.1) and (2.4) of the paper with their variants.

use crate::graph::{Graph, Result, TensorId};
use crate::ops::amcl_loss::AmclLoss;
use crate::ops::gemm::Gemm;
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::scale::Scale;
use crate::ops::sum_all::SumAll;
use crate::ops::top_k::TopK;
use serde::{Deserialize, Serialize};

/// What the candidates' term is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Negatives {
    /// The most similar one (Eq. 2.1).
    Max,
    /// The mean over the kappa most similar.
    TopK,
    /// Log-sum-exp over all.
    Softmax,
}

/// Regulariser of the selected candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NegOmega {
    /// Mean of Omega (follows from the derivation).
    Mean,
    /// Sum of log tau + 1/tau, as the authors' later code has it.
    OfficialSum,
}

/// Whose temperature comes from phi.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adaptive {
    /// Both roles'.
    Full,
    /// None's: constant heads.
    None,
    /// The positive's.
    PositiveOnly,
    /// The candidates'.
    NegativeOnly,
    /// Both, from head 0's features for every head.
    FirstHead,
}

/// All switches of the AMCL loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Amcl {
    /// Form of the candidates' term.
    pub negatives: Negatives,
    /// Candidates of the top-k form.
    pub kappa: usize,
    /// Regulariser of the selected candidates.
    pub neg_omega: NegOmega,
    /// Whose temperature adapts.
    pub adaptive: Adaptive,
    /// Temperature of roles that do not.
    pub tau_const: f32,
    /// The positive is among the candidates (Eq. 2.4): the loss is then bounded below.
    pub include_positive: bool,
    /// Weight of Omega.
    pub beta: f32,
    /// Least temperature.
    pub tau_min: f32,
    /// Largest temperature.
    pub tau_max: f32,
    /// Hidden width of phi.
    pub phi_hidden: usize,
    /// Factor on phi's learning rate.
    pub phi_lr: f32,
    /// Epochs of the softmax form before a max or top-k form takes over.
    pub warmup_epochs: usize,
}

impl Default for Amcl {
    /// The form that trains: softmax, positive included, phi slowed down, a floor that healthy runs do not touch.
    fn default() -> Self {
        Self {
            negatives: Negatives::Softmax,
            kappa: 100,
            neg_omega: NegOmega::Mean,
            adaptive: Adaptive::Full,
            tau_const: 0.1,
            include_positive: true,
            beta: 0.1,
            tau_min: 0.05,
            tau_max: 2.0,
            phi_hidden: 128,
            phi_lr: 0.1,
            warmup_epochs: 0,
        }
    }
}

/// Results of a loss graph.
#[derive(Clone, Copy, Debug)]
pub struct Built {
    /// The loss [1]: mean over anchors, sum over heads.
    pub loss: TensorId,
    /// Similarities [c,n,n].
    pub similarity: TensorId,
    /// Scores [c or 1,n,n], of which the temperatures are made.
    pub score: Option<TensorId>,
}

/// NT-Xent at temperature `tau` (InfoNCE with the positive in the denominator), z [1,2B,d'].
///
/// # Errors
/// Shapes that do not fit.
pub fn nt_xent(g: &mut Graph, z: TensorId, tau: f32) -> Result<Built> {
    let plain = Amcl {
        adaptive: Adaptive::None,
        tau_const: tau,
        beta: 0.0,
        ..Amcl::default()
    };
    build(g, z, &plain, |_, _| {
        unreachable!("constant temperatures ask for no scores")
    })
}

/// The AMCL loss of z [c,2B,d'] (un-normalised; rows 0..B view 1, B..2B view 2). `phi` appends the temperature MLP to
/// normalised features [c,n,d'].
///
/// # Errors
/// Shapes that do not fit.
pub fn build(
    g: &mut Graph,
    z: TensorId,
    a: &Amcl,
    phi: impl FnOnce(&mut Graph, TensorId) -> Result<TensorId>,
) -> Result<Built> {
    g.scope("loss", |g| {
        let (rows, d) = (g.dims(z)[1], g.dims(z)[2]);
        let product = Gemm {
            trans_b: true,
            ..Gemm::default()
        };
        let zn = g.push1(L2Normalize { eps: 1e-12 }, &[z])?;
        let s = g.push1(product, &[zn, zn])?;
        let (pos, neg) = match a.adaptive {
            Adaptive::Full | Adaptive::FirstHead => (true, true),
            Adaptive::PositiveOnly => (true, false),
            Adaptive::NegativeOnly => (false, true),
            Adaptive::None => (false, false),
        };
        let mut inputs = vec![s];
        let score = if pos || neg {
            let features = if a.adaptive == Adaptive::FirstHead && g.dims(zn)[0] > 1 {
                g.push1(crate::ops::first_rows::FirstRows { rows: 1 }, &[zn])?
            } else {
                zn
            };
            let p = phi(g, features)?;
            let r = g.push1(product, &[p, p])?;
            inputs.push(r);
            Some(r)
        } else {
            None
        };
        let top_k = a.negatives != Negatives::Softmax;
        if top_k {
            let kappa = if a.negatives == Negatives::Max {
                1
            } else {
                a.kappa
            };
            let t = g.push(
                TopK {
                    kappa,
                    ntxent: true,
                    include_positive: a.include_positive,
                },
                &[s],
            )?;
            inputs.extend(t);
        }
        let op = AmclLoss {
            top_k,
            warmup: a.warmup_epochs > 0,
            official_sum: a.neg_omega == NegOmega::OfficialSum,
            adaptive_pos: pos,
            adaptive_neg: neg,
            include_positive: a.include_positive,
            beta: a.beta,
            eta: a.tau_min,
            iota: (f64::from(a.tau_max) - f64::from(a.tau_min)) as f32,
            tau_const: a.tau_const,
            d,
        };
        let each = g.push(op, &inputs)?[0];
        let total = g.push1(SumAll, &[each])?;
        let loss = g.push1(
            Scale {
                factor: (1.0 / rows as f64) as f32,
            },
            &[total],
        )?;
        Ok(Built {
            loss,
            similarity: s,
            score,
        })
    })
}
