//! Evaluation of frozen features.

pub mod knn;
pub mod pca;
pub mod spread;
