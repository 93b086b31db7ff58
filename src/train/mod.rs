//! Training: configuration, the loop, checkpoints and the run folder.

pub mod checkpoint;
pub mod config;
pub mod encoder;
pub mod environment;
pub mod events;
pub mod features;
pub mod finetune;
pub mod gradient;
pub mod health;
pub mod method;
pub mod optimizer;
pub mod presets;
pub mod preview;
pub mod probe;
pub mod profile;
pub mod run_folder;
pub mod schedule;
pub mod session;
pub mod similarity;
pub mod trainer;
pub mod tune;
pub mod weights;

pub use config::Config;
pub use trainer::{Outcome, train};

use std::path::PathBuf;

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
    /// Files.
    #[error("{path}: {source}{}", advice(source))]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A checkpoint that cannot be used.
    #[error("{0}")]
    Checkpoint(String),
    /// The loss or its gradient is no longer finite.
    #[error("{0}")]
    NonFinite(String),
}

/// What to do about an I/O error, where that is plain.
fn advice(e: &std::io::Error) -> &'static str {
    match e.kind() {
        std::io::ErrorKind::StorageFull => {
            "; what was saved before is whole: free some space and continue with --resume"
        }
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            "; choose a folder that can be written with --out"
        }
        _ => "",
    }
}

/// Result of training calls.
pub type Result<T> = std::result::Result<T, TrainError>;

/// Attaches a path to an I/O error.
pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> TrainError {
    let path = path.into();
    move |source| TrainError::Io { path, source }
}
