//! The run folder: what a training writes, and what is read back from it.

pub mod checkpoint;
pub mod claim;
mod csv;
pub mod environment;
pub mod event;
pub mod folder;
pub mod output;
pub mod profile;
mod records;
pub(crate) mod tensorboard;
pub mod weights;

use crate::config::ConfigError;
use crate::graph::GraphError;
use std::path::PathBuf;

/// Why a run folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The folder or a file is not what it should be; says what would do.
    #[error("{0}")]
    Config(String),
    /// A checkpoint that cannot be used.
    #[error("{0}")]
    Checkpoint(String),
    /// Files.
    #[error("{path}: {source}{}", advice(source))]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Graph or device.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl From<ConfigError> for RunError {
    fn from(e: ConfigError) -> Self {
        Self::Config(e.0)
    }
}

/// Result of reading and writing run folders.
pub type Result<T> = std::result::Result<T, RunError>;

/// What to do about an I/O error, where that is plain.
fn advice(e: &std::io::Error) -> &'static str {
    match e.kind() {
        std::io::ErrorKind::StorageFull => {
            "; what was saved before is whole: free some space and run it again (a training goes on with --resume)"
        }
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            "; choose a folder that can be written with --out"
        }
        _ => "",
    }
}

/// Attaches a path to an I/O error.
pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> RunError {
    let path = path.into();
    move |source| RunError::Io { path, source }
}
