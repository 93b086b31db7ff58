//! SimCLR (Chen et al., ICML 2020), plain and with AMCL.

use super::Method;
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

impl Method for SimClr {
    fn encoder(&self) -> &ResNet {
        &self.encoder
    }

    fn loss(&self, g: &mut Graph, m: &mut Model, views: TensorId) -> Result<Built> {
        let f = self.encoder.build(g, m, views, true)?;
        let z = heads::projection(g, m, f, self.heads, self.hidden, self.out)?;
        let built = match &self.amcl {
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
        }?;
        Ok(Built {
            features: Some(f),
            ..built
        })
    }
}
