//! SimCLR (Chen et al., ICML 2020), plain and with AMCL.

use super::loss::{Amcl, LossOutput, Plain};
use super::recipe::PairMatrix;
use super::{
    AllPairs, Batch, Diagnostics, Draws, Embedded, Embedder, Given, Method, Recipe, Spec,
    SplitLoss, Temperatures, Views, embed_and_loss, pair_temperatures,
};
use crate::graph::{Result, TensorId};
use crate::nn::heads::Mlp;
use crate::nn::{Backbone, Net};
use std::sync::Arc;

crate::section! {
    /// Settings of `[method]`: none.
    Settings {}
}

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct SimClr {
    /// Encoder.
    pub encoder: Arc<dyn Backbone>,
    /// Projection heads (one when plain).
    pub projector: Mlp,
    /// The AMCL loss; `None`: NT-Xent at `temperature`.
    pub amcl: Option<Amcl>,
    /// Temperature of plain NT-Xent.
    pub temperature: Plain,
    /// How the loss over all pairs is computed.
    pub pairs: AllPairs,
}

/// The method for configurations.
pub static SPEC: Spec = Spec {
    amcl: true,
    couples_batch: true,
    has_temperature: true,
    safeguards,
    pairs: |r| Some(PairMatrix::of_views(r)),
    needs_large_norm: true,
    ..Spec::new::<Settings>(
        "simclr",
        "SimCLR",
        "two views of an image are alike, all other images of the batch are not",
        build,
    )
};

/// On a Vision Transformer the projection of patches stays as it was drawn, and AMCL has the values that
/// [`Recipe::steady_temperatures`] sets; elsewhere it has its centred form.
fn safeguards(r: &mut Recipe, given: Given<'_>) {
    if r.cuts_patches() {
        r.freeze_patches(given);
        r.steady_temperatures(given);
    } else {
        r.centred_temperatures(given);
    }
}

fn build(r: &Recipe, encoder: Arc<dyn Backbone>) -> std::result::Result<Box<dyn Method>, String> {
    Ok(Box::new(SimClr {
        encoder,
        projector: r.projector(false),
        amcl: r.amcl(),
        temperature: r.temperature(),
        pairs: AllPairs::of(r),
    }))
}

impl Method for SimClr {
    fn encoder(&self) -> &dyn Backbone {
        self.encoder.as_ref()
    }

    /// Both views are normalised together, as the authors' code has it.
    fn draws(&self) -> Draws {
        Draws::views(Views::TwoStacked)
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

impl SplitLoss for SimClr {
    fn embed(&self, net: &mut Net<'_>, batch: &Batch) -> Result<Embedded> {
        Embedder::new(net, self.encoder(), &self.projector).each(net, &batch.views)
    }

    fn shares_rows(&self) -> bool {
        self.pairs.share_rows
    }

    fn loss(&self, net: &mut Net<'_>, z: &[TensorId]) -> Result<LossOutput> {
        let amcl = self.amcl.as_ref();
        self.pairs.loss(net, z[0], &self.temperature, amcl)
    }
}

impl Diagnostics for SimClr {
    fn projector(&self) -> &Mlp {
        &self.projector
    }

    fn temperatures(&self) -> std::result::Result<(Amcl, Temperatures), &'static str> {
        pair_temperatures(self.amcl.as_ref(), Temperatures::AllPairs)
    }
}
