//! Methods: encoder, heads and loss put together as one graph.

pub mod loss;
pub mod loss_file;
pub mod simclr;

use crate::graph::{Graph, Result, TensorId};
use crate::nn::Model;
use crate::nn::resnet::ResNet;
use loss::Built;

/// A self-supervised method: what a training step computes. One file a method; `docs/ADDING_A_METHOD.md` says how to write another.
pub trait Method {
    /// The encoder, which is what remains after training.
    fn encoder(&self) -> &ResNet;

    /// Views [2B,s,s,3] (rows 0..B the first of each image, B..2B the second) -> loss. Parameters are declared in `m` at first sight.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn loss(&self, g: &mut Graph, m: &mut Model, views: TensorId) -> Result<Built>;
}

/// Images [B,s,s,3] -> backbone features [B,d] with running statistics: what evaluation and downstream tasks use.
///
/// # Errors
/// Shapes that do not fit.
pub fn features(
    encoder: &ResNet,
    g: &mut Graph,
    m: &mut Model,
    images: TensorId,
) -> Result<TensorId> {
    encoder.build(g, m, images, false)
}
