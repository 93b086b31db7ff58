//! SimCLR (Chen et al., ICML 2020), plain and with AMCL.

use super::loss::{self, Amcl, Built};
use crate::graph::{Graph, Result, TensorId, TensorType};
use crate::nn::{Model, heads, resnet::ResNet};

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct SimClr {
    /// Encoder.
    pub encoder: ResNet,
    /// Number of projection heads (1 when plain).
    pub heads: usize,
    /// Hidden width of the heads.
    pub hidden: usize,
    /// d', output width of the heads.
    pub out: usize,
    /// The AMCL loss; `None`: NT-Xent at `temperature`.
    pub amcl: Option<Amcl>,
    /// Temperature of plain NT-Xent.
    pub temperature: f32,
}

impl SimClr {
    /// Views [2B,s,s,3] -> loss. Returns the views' tensor and the loss.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn train_graph(
        &self,
        g: &mut Graph,
        m: &mut Model,
        batch: usize,
        size: usize,
    ) -> Result<(TensorId, Built)> {
        let x = g.input("views", TensorType::f32([2 * batch, size, size, 3]));
        let f = self.encoder.build(g, m, x, true)?;
        let z = heads::projection(g, m, f, self.heads, self.hidden, self.out)?;
        let built = match &self.amcl {
            None => loss::nt_xent(g, z, self.temperature)?,
            Some(a) => loss::build(g, z, a, |g, zn| {
                heads::phi(g, m, zn, a.phi_hidden, a.phi_lr)
            })?,
        };
        Ok((x, built))
    }

    /// Images [B,s,s,3] -> backbone features [B,d] with running statistics: what evaluation and downstream tasks use.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn feature_graph(
        &self,
        g: &mut Graph,
        m: &mut Model,
        batch: usize,
        size: usize,
    ) -> Result<(TensorId, TensorId)> {
        let x = g.input("images", TensorType::f32([batch, size, size, 3]));
        let f = self.encoder.build(g, m, x, false)?;
        Ok((x, f))
    }
}
