//! Barlow Twins (Zbontar et al., ICML 2021), plain and with AMCL's Eq. (2.3): temperatures of channel pairs, from the
//! channels' values over the batch.

use super::loss::barlow_twins::Redundancy;
use super::loss::{Amcl, LossOutput, Path, Scorer, TEMPERATURE, barlow_twins};
use super::recipe::PairMatrix;
use super::{
    Batch, Diagnostics, Embedded, Embedder, Given, Method, Recipe, Spec, SplitLoss, Temperatures,
    embed_and_loss, pair_temperatures, with_scorer,
};
use crate::graph::{Graph, Result, TensorId};
use crate::nn::heads::Mlp;
use crate::nn::{Backbone, Net};
use crate::ops::standardize_columns::Deviation;
use crate::settings::between;
use std::sync::Arc;

crate::section! {
    /// Settings of `[method]`.
    Settings {
        /// Weight of the off-diagonal.
        lambda: f64 = 5e-3 => between(0.0, 1e6),
        /// Before channels are correlated, each is divided by its deviation over the batch: `batch_norm` (biased
        /// variance plus 1e-5, as the authors, lightly and solo-learn have it) or `unbiased` (over B - 1, no epsilon,
        /// as MIFA-Lab's contrastive2021 has it).
        standardize: Deviation = Deviation::BatchNorm,
        /// Temperature of Eq. (2.3)'s diagonal where it does not adapt (with AMCL); 1: as in the plain loss.
        tau_diagonal: f64 = 1.0 => TEMPERATURE,
        /// The same off the diagonal.
        tau_off_diagonal: f64 = 1.0 => TEMPERATURE,
        /// Channel vectors at unit length before phi (with AMCL).
        unit_channels: bool = true,
    }
}

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct BarlowTwins {
    /// Encoder.
    pub encoder: Arc<dyn Backbone>,
    /// Projectors, one a head.
    pub projector: Mlp,
    /// Weight of the off-diagonal.
    pub lambda: f64,
    /// What makes a channel's deviation over the batch 1.
    pub standardize: Deviation,
    /// With AMCL: temperatures on and off the diagonal where they do not adapt; 1 is Eq. (1.3).
    pub constant: [f64; 2],
    /// The AMCL loss; `None`: Eq. (1.3).
    pub amcl: Option<Amcl>,
    /// Channel vectors are brought to unit length before phi. Raw ones, as the authors' code has them, start with
    /// every temperature at its floor.
    pub unit_channels: bool,
    /// How the loss over all pairs of channels is computed.
    pub path: Path,
}

/// The method for configurations.
pub static SPEC: Spec = Spec {
    recipe: &["heads.layers=3", "heads.out=512"],
    amcl: true,
    couples_batch: true,
    safeguards,
    pairs: |r| {
        Some(PairMatrix {
            side: r.heads.out,
            streamable: true,
        })
    },
    needs_large_norm: true,
    ..Spec::new::<Settings>(
        "barlow_twins",
        "Barlow Twins",
        "a channel agrees over two views, and does not repeat another channel; no negatives",
        build,
    )
};

fn build(r: &Recipe, encoder: Arc<dyn Backbone>) -> std::result::Result<Box<dyn Method>, String> {
    let s: Settings = r.own()?;
    Ok(Box::new(BarlowTwins {
        encoder,
        projector: r.projector(true),
        lambda: s.lambda,
        standardize: s.standardize,
        constant: [s.tau_diagonal, s.tau_off_diagonal],
        amcl: r.amcl(),
        unit_channels: s.unit_channels,
        path: r.loss.path,
    }))
}

/// With AMCL, beta is 1e-6, for Omega is summed over all pairs of channels.
fn safeguards(r: &mut Recipe, given: Given<'_>) {
    if r.adapts() && !given("amcl", "beta") {
        r.amcl.switches.beta = 1e-6;
    }
}

impl Method for BarlowTwins {
    fn encoder(&self) -> &dyn Backbone {
        self.encoder.as_ref()
    }

    fn build(&self, net: &mut Net<'_>, batch: &Batch) -> Result<LossOutput> {
        embed_and_loss(self, net, batch)
    }

    fn split(&self) -> Option<&dyn SplitLoss> {
        Some(self)
    }

    fn diagnostics(&self) -> Option<&dyn Diagnostics> {
        Some(self)
    }
}

impl SplitLoss for BarlowTwins {
    fn embed(&self, net: &mut Net<'_>, batch: &Batch) -> Result<Embedded> {
        Embedder::new(net, self.encoder(), &self.projector).each(net, &batch.views)
    }

    fn loss(&self, net: &mut Net<'_>, z: &[TensorId]) -> Result<LossOutput> {
        let Some(a) = &self.amcl else {
            return barlow_twins::barlow_twins(net, z[0], z[1], &self.redundancy());
        };
        // Channel vectors are as long as the batch.
        let rows = net.dims(z[0])[1];
        with_scorer(net, a, rows, |g, s| {
            let inner = s.phi;
            let mut channels = |g: &mut Graph, z: TensorId| {
                let mut x = g.transpose(z)?;
                if self.unit_channels {
                    x = g.l2_normalize(x)?;
                }
                inner(g, x)
            };
            let by_channel = Scorer {
                phi: &mut channels,
                gain: s.gain,
            };
            barlow_twins::amcl_barlow_twins(g, z[0], z[1], &self.redundancy(), a, by_channel)
        })
    }
}

impl BarlowTwins {
    fn redundancy(&self) -> Redundancy {
        Redundancy {
            lambda: self.lambda,
            standardize: self.standardize,
            constant: self.amcl.map_or([1.0; 2], |_| self.constant),
            path: self.path,
        }
    }
}

impl Diagnostics for BarlowTwins {
    fn projector(&self) -> &Mlp {
        &self.projector
    }

    fn temperatures(&self) -> std::result::Result<(Amcl, Temperatures), &'static str> {
        pair_temperatures(self.amcl.as_ref(), Temperatures::AllPairs).and(Err(
            "none, temperatures of Barlow Twins are of pairs of channels, not of pairs of images",
        ))
    }
}
