//! Evaluation of frozen features.

pub mod attention;
pub mod cka;
pub mod features;
pub mod knn;
pub mod pca;
pub mod sheet;
pub mod spread;
