//! SimCLR (Chen et al., ICML 2020), plain and with AMCL.

use super::loss::{self, Amcl, Built};
use crate::graph::{Graph, Result, TensorId};
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
    /// Views [2B,s,s,3] (rows 0..B the first) -> loss.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn loss(&self, g: &mut Graph, m: &mut Model, views: TensorId) -> Result<Built> {
        let f = self.encoder.build(g, m, views, true)?;
        let z = heads::projection(g, m, f, self.heads, self.hidden, self.out)?;
        match &self.amcl {
            None => loss::nt_xent(g, z, self.temperature),
            Some(a) => loss::build(g, z, a, |g, zn| {
                heads::phi(g, m, zn, a.phi_hidden, a.phi_lr)
            }),
        }
    }

    /// Images [B,s,s,3] -> backbone features [B,d] with running statistics: what evaluation and downstream tasks use.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn features(&self, g: &mut Graph, m: &mut Model, images: TensorId) -> Result<TensorId> {
        self.encoder.build(g, m, images, false)
    }
}
