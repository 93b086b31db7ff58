//! The form of the AMCL loss: what its ops by matrices (`amcl_loss`) and by tiles (`amcl_stream`) have in common.

use crate::device::recording::Kernel;
use crate::graph::StepScalars;
use crate::reference::Scalar;
use crate::reference::amcl_loss::Form;
use crate::reference::temperature::Temperature;
use crate::reference::top_k::{Candidates, Layout};

/// The switches and constants of the loss. Eqs. (2.1), (2.4) and the softmax and top-kappa forms:
/// `shaders/amcl_loss.wgsl`.
#[derive(Clone, Copy, Debug)]
pub struct AmclForm {
    /// The mean over selected candidates; else the log-sum-exp over all.
    pub top_k: bool,
    /// Use the log-sum-exp while the step says warm-up.
    pub warmup: bool,
    /// Regulariser of the selected: `sum(log tau + 1/tau)` instead of the mean of Omega.
    pub official_sum: bool,
    /// The positive's temperature is adaptive.
    pub adaptive_pos: bool,
    /// The candidates' temperatures are adaptive.
    pub adaptive_neg: bool,
    /// The positive is among the candidates (Eq. 2.4).
    pub include_positive: bool,
    /// Weight of Omega.
    pub beta: f64,
    /// Least temperature.
    pub eta: f64,
    /// Range of the temperature.
    pub iota: f64,
    /// Temperature of a constant role.
    pub tau_const: f64,
}

/// The sizes that a form is computed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Anchors.
    pub anchors: usize,
    /// Columns.
    pub n: usize,
    /// Arrangement of the columns.
    pub layout: Layout,
    /// Heads of the scores: as many as of the similarities, or 1 for all of them.
    pub score_heads: usize,
    /// d', the heads' output dimension, in Omega.
    pub d: usize,
}

impl AmclForm {
    /// Any role adaptive.
    pub fn adaptive(&self) -> bool {
        self.adaptive_pos || self.adaptive_neg
    }

    /// The two switches that change a kernel's inputs.
    pub(super) fn flagged(&self, kernel: Kernel) -> Kernel {
        kernel
            .flag("ADAPTIVE", self.adaptive())
            .flag("TOP_K", self.top_k)
    }

    /// The constants as kernels take them: the constant temperature, beta, eta, iota, d'/2.
    pub(super) fn reals(&self, d: usize) -> [f32; 5] {
        [
            self.tau_const,
            self.beta,
            self.eta,
            self.iota,
            d as f64 / 2.0,
        ]
        .map(|v| v as f32)
    }

    /// The twins' form at a step.
    pub(super) fn at<T: Scalar>(&self, sizes: Sizes, step: &StepScalars) -> Form<T> {
        Form {
            candidates: Candidates {
                anchors: sizes.anchors,
                layout: sizes.layout,
                include_positive: self.include_positive,
            },
            n: sizes.n,
            score_heads: sizes.score_heads,
            softmax: !self.top_k || self.warmup && step.flags & StepScalars::WARMUP != 0,
            official_sum: self.official_sum,
            adaptive_pos: self.adaptive_pos,
            adaptive_neg: self.adaptive_neg,
            temperature: Temperature {
                beta: T::of(self.beta),
                eta: T::of(self.eta),
                iota: T::of(self.iota),
                half_d: T::of(sizes.d as f64 / 2.0),
            },
            tau_const: T::of(self.tau_const * f64::from(step.tau_scale)),
        }
    }
}
