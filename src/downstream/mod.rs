//! What is done with a trained encoder: features, linear probe, fine-tuning, similarity of pairs.

pub mod encoder;
pub mod finetune;
pub mod probe;
pub mod similarity;
