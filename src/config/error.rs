//! Why a configuration cannot be used.

/// A setting that is impossible, unknown or malformed; the text says which one, and what would do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Result of reading and checking a configuration.
pub type Result<T> = std::result::Result<T, ConfigError>;
