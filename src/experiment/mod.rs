//! Experiments: a file that names cases, a grid of settings and seeds; the trainings that they make; what is
//! measured of each; the table.
//!
//! [`Experiment`] is the file, [`Sweep`] its trainings in a folder. A sweep can be stopped at any time and
//! goes on where it was; a training whose loss is no longer finite is kept as a failure, and the others are
//! done.

mod file;
mod sweep;
mod table;
mod trial;

pub use file::{EXPERIMENTS, Experiment, Measure};
pub use sweep::{Event, Finished, PAGE, Sweep};
pub use table::{Row, Table};
pub use trial::Trial;

use crate::config::ConfigError;
use crate::downstream::DownstreamError;
use crate::run::RunError;
use crate::train::TrainError;

/// Why an experiment could not be read or done.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// The file, or what is asked for beside it. The text says what is wrong, and what would do.
    #[error("{0}")]
    File(String),
    /// A case's configuration.
    #[error("case `{case}`: {source}")]
    Case {
        /// The case's name.
        case: String,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// A preset or setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A measurement.
    #[error(transparent)]
    Downstream(#[from] DownstreamError),
    /// The sweep's folder.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Result of reading and doing experiments.
pub type Result<T> = std::result::Result<T, ExperimentError>;
