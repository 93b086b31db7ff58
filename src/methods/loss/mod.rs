//! The losses as graphs: baselines (Table 1 of the paper) and AMCL (Table 2), on embeddings.
//!
//! Conventions: similarities are cosines; losses are means over anchors, summed over heads; heads lead: z [c,rows,d'].

pub mod barlow_twins;
pub mod contrastive;
pub mod evaluate;
pub mod macl;
pub mod mocov3;
pub mod reconstruction;
mod scorer;
pub mod simsiam;

pub use scorer::{Centre, Scorer};

use crate::graph::TensorId;
use crate::nn::heads::WIDTH;
use crate::settings::{Range, Section, between};
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

/// How the score of a pair, of which its temperature is made, comes from phi.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parametrisation {
    /// r = phi(z_i) . phi(z_j), Eq. (3) of the paper.
    Dot,
    /// r = g (cos(phi(z_i), phi(z_j)) - mean over the head's pairs) + constant: the mean temperature is pinned near
    /// tau0, only the pair-wise part is learned, with a gain g learned from 1. This project's own.
    Centred,
}

/// How the loss over all pairs of a batch is computed; both ways give the same numbers up to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// `Stream` where it can be and a matrix of all pairs would exceed [`MATRIX_BYTES`], else `Matrix`.
    #[default]
    Auto,
    /// Matrices [c,2B,2B] (Barlow Twins: [c,d',d']) of similarities and scores: fewest operations.
    Matrix,
    /// Tile by tile, made anew in the backward pass: memory that grows with 2B (d').
    Stream,
}

/// The largest matrix of all pairs that is kept by default: WebGPU's least guarantee for one binding. Loss and
/// gradient need up to four of them.
pub const MATRIX_BYTES: usize = 128 << 20;

impl Path {
    /// Is the loss streamed whose matrices are [c,n,n], `dims` beginning with c and n?
    ///
    /// # Errors
    /// In words, when it should be and is not `streamable`.
    pub fn streams(self, streamable: bool, dims: &[usize]) -> std::result::Result<bool, String> {
        match self {
            Self::Matrix => Ok(false),
            Self::Auto => Ok(streamable && {
                let bytes = dims[0] as f64 * dims[1] as f64 * dims[1] as f64 * 4.0;
                bytes > MATRIX_BYTES as f64
            }),
            Self::Stream if streamable => Ok(true),
            Self::Stream => Err("loss.path = \"stream\" is for losses that need no matrix as a whole: in simclr, no \
                loss.schedule = \"macl\"; use auto or matrix".into()),
        }
    }
}

crate::section! {
    /// All switches of the AMCL loss. The defaults are the form that trains: softmax, positive included, phi slowed
    /// down, a floor that healthy runs do not touch.
    #[derive(Copy)]
    Amcl {
        /// Form of the candidates' term: `max` (the most similar one, Eq. 2.1), `topk` (the mean over the kappa most
        /// similar) or `softmax` (log-sum-exp over all).
        negatives: Negatives = Negatives::Softmax,
        /// Candidates of the top-k form.
        kappa: usize = 100 => between(1.0, 1e9),
        /// Regulariser of the selected candidates: `mean` of Omega, or `official_sum` of log tau + 1/tau, as in the
        /// authors' later code.
        neg_omega: NegOmega = NegOmega::Mean,
        /// Whose temperature adapts: `full` (both roles'), `none` (constant heads), `positive_only`, `negative_only`,
        /// or
        /// `first_head` (both, from head 0's features for every head).
        adaptive: Adaptive = Adaptive::Full,
        /// How a pair's score is made: `dot` of phi's outputs (Eq. 3), or `centred`, in which only the part that
        /// differs between pairs is learned (configurations that leave it out: `centred` for simclr on a ResNet where
        /// `negatives` is `softmax`).
        parametrisation: Parametrisation = Parametrisation::Dot,
        /// Temperature at the mean score of the centred parametrisation.
        tau0: f64 = 0.1 => TEMPERATURE,
        /// Temperature of roles that do not adapt.
        tau_const: f64 = 0.1 => TEMPERATURE,
        /// The positive is among the candidates (Eq. 2.4): the loss is then bounded below.
        include_positive: bool = true,
        /// Weight of Omega (configurations that leave it out: 1e-4 for simsiam, 1e-6 for barlow_twins).
        beta: f64 = 0.1 => between(0.0, 1e6),
        /// Least temperature (configurations that leave out the form as well: 0.02 where it is then `centred`).
        tau_min: f64 = 0.05 => TEMPERATURE,
        /// Largest temperature.
        tau_max: f64 = 2.0 => TEMPERATURE,
        /// Hidden width of phi (configurations that leave it out: at least d' for simsiam).
        phi_hidden: usize = 128 => WIDTH,
        /// Factor on phi's learning rate.
        phi_lr: f32 = 0.1 => between(0.0, 1e4),
        /// Epochs of the softmax form before a max or top-k form takes over.
        warmup_epochs: usize = 0 => between(0.0, 1e6),
    }
}

/// Temperatures of losses. The least that a published configuration has is 1e-5.
pub const TEMPERATURE: Range = between(1e-6, 1e6);

impl Amcl {
    /// Range of the temperature, iota.
    pub fn range(&self) -> f64 {
        self.tau_max - self.tau_min
    }

    /// The score of the centred parametrisation at the mean: there the temperature is tau0.
    pub fn score_at_mean(&self) -> f64 {
        (self.range() / (self.tau0 - self.tau_min) - 1.0).ln()
    }

    /// Which roles adapt: the positive's, the candidates'.
    pub fn roles(&self) -> (bool, bool) {
        match self.adaptive {
            Adaptive::Full | Adaptive::FirstHead => (true, true),
            Adaptive::PositiveOnly => (true, false),
            Adaptive::NegativeOnly => (false, true),
            Adaptive::None => (false, false),
        }
    }

    /// How many candidates are selected, if not all count.
    pub fn selected(&self) -> Option<usize> {
        match self.negatives {
            Negatives::Max => Some(1),
            Negatives::TopK => Some(self.kappa),
            Negatives::Softmax => None,
        }
    }

    /// Whether an anchor whose positive is its nearest candidate has no loss and no gradient, whatever its temperature:
    /// both terms are then of the same pair (Eq. 2.4 as printed).
    pub fn can_die(&self) -> bool {
        self.include_positive && self.selected() == Some(1)
    }

    /// What is wrong with the values, in words.
    ///
    /// # Errors
    /// Temperatures out of order, no candidates to select, a combination without meaning.
    pub fn validate(&self) -> std::result::Result<(), String> {
        self.check_ranges("amcl")?;
        if self.tau_max <= self.tau_min {
            return Err(format!(
                "amcl.tau_min {} and amcl.tau_max {} must be in order: 0 < tau_min < tau_max",
                self.tau_min, self.tau_max
            ));
        }
        if self.parametrisation == Parametrisation::Centred
            && !(self.tau0 > self.tau_min && self.tau0 < self.tau_max)
        {
            return Err(format!(
                "amcl.tau0 is {}, not between tau_min {} and tau_max {}; the paper's form, which has no tau0, is \
                 amcl.parametrisation = \"dot\"",
                self.tau0, self.tau_min, self.tau_max
            ));
        }
        if self.negatives == Negatives::Softmax && self.neg_omega == NegOmega::OfficialSum {
            return Err("the softmax form has Omega inside the exponent: amcl.neg_omega = \"official_sum\" belongs to \
                max and topk".into());
        }
        Ok(())
    }
}

/// Temperature of the plain losses with negatives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plain {
    /// The temperature, or MACL's tau0.
    pub tau: f64,
    /// Follow the alignment of positives.
    pub macl: Option<macl::Macl>,
}

impl Plain {
    /// Whether the loss can do without matrices of all pairs: MACL's temperature cannot.
    pub fn streamable(&self) -> bool {
        self.macl.is_none()
    }

    /// A constant temperature.
    pub fn constant(tau: f64) -> Self {
        Self { tau, macl: None }
    }
}

/// Name of the term of a loss that compares predicted pixels with hidden ones.
pub const RECONSTRUCTION: &str = "reconstruction";

/// A term of a loss before it is weighed [1], with the name under which a run records it.
pub type Term = (&'static str, TensorId);

/// Results of a loss graph.
#[derive(Clone, Debug)]
pub struct LossOutput {
    /// The loss [1]: mean over anchors, sum over heads.
    pub loss: TensorId,
    /// The pairs that it compares, where it compares pairs.
    pub pairs: Option<PairTensors>,
    /// Backbone features of the views in training mode, together [2B,d], once a method has put them there.
    pub features: Vec<TensorId>,
    /// Embeddings [c,B,d'] of one view, where the loss sees no negative pairs: from them comes how alike different
    /// images are.
    pub embedding: Option<TensorId>,
    /// The terms that the loss is a sum of, where it is one.
    pub terms: Vec<Term>,
    /// Outputs of several heads [c,n,d'], those that the loss is made of (of one view where views come apart); once its
    /// gradient is there, the first rows of these and of their gradient. Nothing where there is one head.
    pub heads: Vec<TensorId>,
    /// Keys [c,B,d'] of a momentum encoder: where there is a queue, those that go into it after the step (of all ranks'
    /// images, where ranks make each other's).
    pub keys: Vec<TensorId>,
}

/// Pairs that a loss compares.
#[derive(Clone, Copy, Debug)]
pub struct PairTensors {
    /// Similarities; [c,n,n] in NT-Xent layout, [c,d,d] of channels (of the first images or channels alone where the
    /// loss is streamed), [c,b,1+k] with a queue (column 0 the positive), [c,b,b] of queries and keys, [c,b] without
    /// negatives.
    pub similarity: TensorId,
    /// Scores of the same shape (or one head's), of which the temperatures are made.
    pub score: Option<TensorId>,
    /// Which entries of these are positive pairs.
    pub which: Pairs,
}

impl LossOutput {
    /// A loss that compares nothing: reconstruction, say.
    pub fn of_loss(loss: TensorId) -> Self {
        Self {
            loss,
            pairs: None,
            features: Vec::new(),
            embedding: None,
            terms: Vec::new(),
            heads: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// A loss that compares pairs.
    pub fn of_pairs(
        loss: TensorId,
        similarity: TensorId,
        score: Option<TensorId>,
        which: Pairs,
    ) -> Self {
        Self {
            pairs: Some(PairTensors {
                similarity,
                score,
                which,
            }),
            ..Self::of_loss(loss)
        }
    }
}

/// Which entries of similarities and scores are positive pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// [c,n,n]: row i with column (i + n/2) mod n; the diagonal is no pair.
    Views,
    /// [c,b,1+k]: column 0.
    FirstColumn,
    /// [c,b]: all; there are no negatives.
    All,
    /// [c,d,d] of channels: the diagonal.
    Diagonal,
    /// [c,b,b] of queries and keys: the diagonal.
    Keys,
}
