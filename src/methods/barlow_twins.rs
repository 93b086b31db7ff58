//! Barlow Twins (Zbontar et al., ICML 2021), plain and with AMCL's Eq. (2.3): temperatures of channel pairs, from the channels' values over the batch.

use super::loss::barlow_twins::Redundancy;
use super::loss::{Amcl, Built, Path, barlow_twins};
use super::{Embedded, Halves, Method, embed_apart, joined, with_scorer};
use crate::graph::{Graph, Result, TensorId};
use crate::nn::Model;
use crate::nn::heads::Mlp;
use crate::nn::resnet::ResNet;
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::swap_axes::SwapAxes;

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct BarlowTwins {
    /// Encoder.
    pub encoder: ResNet,
    /// Projectors, one a head.
    pub projector: Mlp,
    /// Weight of the off-diagonal.
    pub lambda: f64,
    /// With AMCL: temperatures on and off the diagonal where they do not adapt; 1 is Eq. (1.3).
    pub constant: [f64; 2],
    /// The AMCL loss; `None`: Eq. (1.3).
    pub amcl: Option<Amcl>,
    /// Channel vectors are brought to unit length before phi. Raw ones, as the authors' code has them, start with every temperature at its floor.
    pub unit_channels: bool,
    /// How the loss over all pairs of channels is computed.
    pub path: Path,
}

impl Method for BarlowTwins {
    fn encoder(&self) -> &ResNet {
        &self.encoder
    }

    fn head(&self) -> &Mlp {
        &self.projector
    }

    fn loss(&self, g: &mut Graph, m: &mut Model, views: &[TensorId]) -> Result<Built> {
        joined(self, g, m, views)
    }

    fn halves(&self) -> Option<&dyn Halves> {
        Some(self)
    }
}

impl Halves for BarlowTwins {
    fn embed(&self, g: &mut Graph, m: &mut Model, views: &[TensorId]) -> Result<Embedded> {
        embed_apart(&self.encoder, &self.projector, g, m, views)
    }

    fn loss_of(&self, g: &mut Graph, m: &mut Model, z: &[TensorId]) -> Result<Built> {
        match &self.amcl {
            Some(a) => with_scorer(g, m, a, |g, mut s| {
                let inner = &mut s.phi;
                let mut channels = |g: &mut Graph, z: TensorId| {
                    let dims = g.dims(z).to_vec();
                    let swap = SwapAxes {
                        axes: [dims[0], dims[1], dims[2], 1],
                        out: [dims[0], dims[2], dims[1]].into(),
                    };
                    let mut x = g.push1(swap, &[z])?;
                    if self.unit_channels {
                        x = g.push1(L2Normalize { eps: 1e-12 }, &[x])?;
                    }
                    inner(g, x)
                };
                let by_channel = super::loss::Scorer {
                    phi: &mut channels,
                    gain: s.gain,
                };
                barlow_twins::amcl_barlow_twins(g, z[0], z[1], &self.redundancy(), a, by_channel)
            }),
            None => barlow_twins::barlow_twins(g, z[0], z[1], &self.redundancy()),
        }
    }
}

impl BarlowTwins {
    fn redundancy(&self) -> Redundancy {
        Redundancy {
            lambda: self.lambda,
            constant: self.amcl.map_or([1.0; 2], |_| self.constant),
            path: self.path,
        }
    }
}
