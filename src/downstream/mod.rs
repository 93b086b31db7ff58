//! What is done with a trained encoder: its features, a linear probe, fine-tuning, the similarity of pairs.
//!
//! `encoder`, `probe`, `finetune` and `similarity` work on tensors and images that the caller has.
//! [`protocols`] evaluates a run by them: it reads the run's folder ([`source`]) and writes the result beside
//! the run (`record`).

pub mod encoder;
pub mod finetune;
pub mod probe;
pub mod protocols;
pub(crate) mod record;
pub mod similarity;
pub mod source;

pub use source::Source;

use crate::config::ConfigError;
use crate::data::DataError;
use crate::graph::GraphError;
use crate::run::RunError;
use crate::train::TrainError;

/// Why an encoder could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum DownstreamError {
    /// What was asked for is impossible. The text says what would do.
    #[error("{0}")]
    Request(String),
    /// The loss of a probe or of fine-tuning is no longer finite.
    #[error("{0}")]
    NonFinite(String),
    /// The run's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A graph, or the device.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The run's folder.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Opening the device, building the optimiser.
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// Result of working with a trained encoder.
pub type Result<T> = std::result::Result<T, DownstreamError>;

/// What a long piece of work says while it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// A line for people.
    Line(&'a str),
    /// Something is not as it should be. The work goes on.
    Warning(&'a str),
    /// `done` of `all` units of the work that `what` names are done.
    Progress {
        /// Units done.
        done: usize,
        /// Units in all.
        all: usize,
        /// The work, in words.
        what: &'a str,
    },
}

/// Who is told of a [`Notice`]. Images are decoded by several threads, each of which tells its progress.
pub type Tell<'a> = &'a (dyn Fn(Notice<'_>) + Sync);

/// Warns where the features [n,dim] of `images` say nothing of them.
pub(crate) fn look_at(tell: Tell<'_>, images: &str, features: &[f32], dim: usize) {
    if let Some(doubt) = crate::eval::spread::doubt(features, dim) {
        tell(Notice::Warning(&format!("{images}: {doubt}")));
    }
}

/// Tells progress.
pub(crate) fn progress(tell: Tell<'_>, done: usize, all: usize, what: &str) {
    tell(Notice::Progress { done, all, what });
}
