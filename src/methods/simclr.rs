//! SimCLR (Chen et al., ICML 2020), plain and with AMCL.

use super::loss::{Amcl, Built, Parametrisation, Scorer, contrastive};
use crate::graph::{Graph, Result, TensorId};
use crate::nn::{Init, Model, heads, resnet::ResNet};

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
    pub temperature: f64,
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
            None => contrastive::nt_xent(g, z, self.temperature, true),
            Some(a) => {
                let gain = (a.parametrisation == Parametrisation::Centred)
                    .then(|| m.param_with(g, "phi.gain", &[1], Init::Constant(1.0), a.phi_lr));
                let scorer = Scorer {
                    phi: &mut |g, zn| heads::phi(g, m, zn, a.phi_hidden, a.phi_lr),
                    gain,
                };
                contrastive::amcl(g, z, a, scorer)
            }
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
