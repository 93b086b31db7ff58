//! Under construction.
pub mod recording;
/// Device limits that matter to ops.
#[derive(Clone, Debug)]
pub struct Limits { 
    /// Largest storage binding, bytes.
    pub max_binding: usize }
/// Why a device could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Any.
    #[error("{0}")]
    Other(String),
}
