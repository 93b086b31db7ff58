//! SimCLR (Chen et al., ICML 2020), plain and with AMCL.

use super::loss::{Amcl, Built, Path, Plain, contrastive};
use super::{Embedded, Halves, Method, embed_apart, joined, with_scorer};
use crate::graph::{Graph, Result, TensorId};
use crate::nn::Model;
use crate::nn::heads::Mlp;
use crate::nn::resnet::ResNet;

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct SimClr {
    /// Encoder.
    pub encoder: ResNet,
    /// Projection heads (one when plain).
    pub head: Mlp,
    /// The AMCL loss; `None`: NT-Xent at `temperature`.
    pub amcl: Option<Amcl>,
    /// Temperature of plain NT-Xent.
    pub temperature: Plain,
    /// How the loss over all pairs is computed.
    pub path: Path,
}

impl Method for SimClr {
    fn encoder(&self) -> &ResNet {
        &self.encoder
    }

    fn head(&self) -> &Mlp {
        &self.head
    }

    fn apart(&self) -> bool {
        false
    }

    fn loss(&self, g: &mut Graph, m: &mut Model, views: &[TensorId]) -> Result<Built> {
        joined(self, g, m, views)
    }

    fn halves(&self) -> Option<&dyn Halves> {
        Some(self)
    }
}

impl Halves for SimClr {
    fn embed(&self, g: &mut Graph, m: &mut Model, views: &[TensorId]) -> Result<Embedded> {
        embed_apart(&self.encoder, &self.head, g, m, views)
    }

    fn loss_of(&self, g: &mut Graph, m: &mut Model, z: &[TensorId]) -> Result<Built> {
        match &self.amcl {
            None => contrastive::nt_xent(g, z[0], &self.temperature, true, self.path),
            Some(a) => with_scorer(g, m, a, |g, s| contrastive::amcl(g, z[0], a, s, self.path)),
        }
    }
}
