//! Evaluation of frozen features.

pub mod knn;
pub mod spread;
