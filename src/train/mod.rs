//! Training: the session on an executor, the gradient, the optimiser, the loop.

#[doc(hidden)]
pub mod gradient;
pub(crate) mod health;
#[doc(hidden)]
pub mod optimizer;
mod pass;
pub mod reconstruction;
pub(crate) mod schedule;
#[doc(hidden)]
pub mod session;
pub mod trainer;
#[doc(hidden)]
pub mod tune;

pub use crate::config::Config;
pub use trainer::{Outcome, Trainer};

use crate::config::ConfigError;
use crate::run::RunError;

/// Why a run could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting is impossible; says which and what would do.
    #[error("{0}")]
    Config(String),
    /// Data.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// Graph or device.
    #[error(transparent)]
    Graph(#[from] crate::graph::GraphError),
    /// The run folder: a file, a checkpoint that cannot be used.
    #[error(transparent)]
    Run(RunError),
    /// Ranks that train together cannot go on.
    #[error(transparent)]
    Ranks(#[from] crate::comm::CommError),
    /// The loss or its gradient is no longer finite.
    #[error("{0}")]
    NonFinite(String),
}

impl From<ConfigError> for TrainError {
    fn from(e: ConfigError) -> Self {
        Self::Config(e.0)
    }
}

impl From<RunError> for TrainError {
    fn from(e: RunError) -> Self {
        match e {
            RunError::Config(text) => Self::Config(text),
            RunError::Graph(e) => Self::Graph(e),
            other => Self::Run(other),
        }
    }
}

/// Result of training calls.
pub type Result<T> = std::result::Result<T, TrainError>;
