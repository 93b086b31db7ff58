//! MoCo v3 (Chen, Xie, He, ICCV 2021), plain and with AMCL's Eq. (2.4): queries of a predictor against the keys that a
//! momentum encoder makes of the other view, for all images of the batch. There is no queue.
//!
//! The momentum copy follows the parameters before the keys of a step are made, as in the authors' code. Here its
//! update stands behind the optimiser's step, which is the same place: the copy that step t + 1 reads has seen the
//! parameters of step t + 1, with the decay of step t + 1 ([`Method::momentum_ahead`]). Batch norm of the keys takes
//! its own batch; running statistics are the trained encoder's alone.

use super::loss::mocov3::{amcl_mocov3, mocov3};
use super::loss::{Amcl, LossOutput, Plain};
use super::recipe::{Chosen, holds};
use super::{
    Batch, Diagnostics, Embedded, Embedder, Given, Method, Recipe, Spec, SplitLoss, Temperatures,
    embed_and_loss, pair_temperatures, phi_of, update_momentum_copy, with_scorer,
};
use crate::graph::{Result, TensorId};
use crate::nn::heads::{Last, Mlp, WIDTH};
use crate::nn::{Backbone, Net, Part};
use crate::settings::between;
use std::sync::Arc;

crate::section! {
    /// Settings of `[method]`.
    Settings {
        /// Decay of the momentum encoder.
        momentum: f32 = 0.99 => between(0.0, 1.0),
        /// Its value at the end, approached along a cosine; negative: constant.
        final_momentum: f32 = 1.0 => between(-1.0, 1.0),
        /// Hidden width of the predictor.
        predictor_hidden: usize = 512 => WIDTH,
        /// Behind the predictor's last layer: as `heads.last`. Where nothing is set, `bare_norm` on a Vision
        /// Transformer and `bare` on a residual network.
        predictor_last: Last = Last::BareNorm,
        /// AMCL: factor on the sum of both directions' losses; 0.5 is their mean.
        scale: f64 = 0.5 => between(0.0, 1e6).without_low(),
    }
}

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct MocoV3 {
    /// Encoder.
    pub encoder: Arc<dyn Backbone>,
    /// Projectors (one when plain), in the momentum branch too.
    pub projector: Mlp,
    /// Predictors, one a head, of the queries alone.
    pub predictor: Mlp,
    /// The AMCL loss; `None`: InfoNCE at `temperature`.
    pub amcl: Option<Amcl>,
    /// Factor on the sum of both directions' AMCL losses.
    pub scale: f64,
    /// Temperature of plain InfoNCE.
    pub temperature: Plain,
    /// Decay of the momentum encoder at the start and the end ([`Method::momentum`]).
    pub momentum: [f32; 2],
}

/// The method for configurations.
pub static SPEC: Spec = Spec {
    recipe: &["heads.layers=3", "heads.out=256"],
    amcl: true,
    couples_batch: true,
    has_temperature: true,
    safeguards,
    check,
    ..Spec::new::<Settings>(
        "mocov3",
        "MoCo v3",
        "a predictor finds the key that a momentum encoder makes of the other view, among the batch's keys",
        build,
    )
};

fn build(r: &Recipe, encoder: Arc<dyn Backbone>) -> std::result::Result<Box<dyn Method>, String> {
    Ok(Box::new(MocoV3::of(r, &r.own()?, encoder)))
}

/// The authors' heads: three layers, the last behind batch norm without scale and shift; the predictor ends alike on a
/// Vision Transformer. There the random projection of patches stays as it is, and AMCL has the values that
/// [`Recipe::steady_temperatures`] sets.
pub(super) fn safeguards(r: &mut Recipe, given: Given<'_>) {
    if !given("heads", "layers") {
        r.heads.layers = 3;
    }
    if !given("heads", "last") {
        r.heads.last = Last::BareNorm;
    }
    if !given("method", "predictor_last") && !r.cuts_patches() {
        r.settings.insert("predictor_last".into(), "bare".into());
    }
    r.freeze_patches(given);
    r.steady_temperatures(given);
}

/// A row of similarities is the batch.
pub(super) fn check(r: &Recipe, _: &Chosen<'_>) -> std::result::Result<(), String> {
    let keys = match r.batch.cached {
        true => r.batch.images,
        false => r.batch.part(),
    };
    holds(
        "heads.count x optim.batch_size squared",
        &[r.heads.count, keys, keys],
    )
}

impl MocoV3 {
    /// Of a recipe, with the settings that it shares with layer-grafted pre-training.
    pub(super) fn of(r: &Recipe, s: &Settings, encoder: Arc<dyn Backbone>) -> Self {
        Self {
            encoder,
            projector: r.projector(true),
            predictor: Mlp {
                last: s.predictor_last,
                ..r.predictor(s.predictor_hidden)
            },
            amcl: r.amcl(),
            scale: s.scale,
            temperature: r.temperature(),
            momentum: [s.momentum, s.final_momentum],
        }
    }
}

impl Method for MocoV3 {
    fn encoder(&self) -> &dyn Backbone {
        self.encoder.as_ref()
    }

    fn build(&self, net: &mut Net<'_>, batch: &Batch) -> Result<LossOutput> {
        embed_and_loss(self, net, batch)
    }

    fn split(&self) -> Option<&dyn SplitLoss> {
        Some(self)
    }

    fn momentum(&self) -> Option<[f32; 2]> {
        Some(self.momentum)
    }

    fn momentum_ahead(&self) -> usize {
        1
    }

    fn after_step(&self, net: &mut Net<'_>) -> Result<()> {
        update_momentum_copy(net)
    }

    fn diagnostics(&self) -> Option<&dyn Diagnostics> {
        Some(self)
    }
}

impl SplitLoss for MocoV3 {
    /// Queries of both views, then their keys.
    fn embed(&self, net: &mut Net<'_>, batch: &Batch) -> Result<Embedded> {
        let views = &batch.views;
        let embedder = Embedder::new(net, self.encoder(), &self.projector);
        let predictor = self
            .predictor
            .layers(net, Part::Predictor, self.projector.out);
        // Every parameter is declared before the momentum copy is made of them all.
        if let Some(a) = self.amcl.filter(|a| a.roles() != (false, false)) {
            phi_of(net, &a, self.projector.out);
        }
        net.model.make_momentum_copy();
        let mut out = embedder.each(net, views)?;
        for z in &mut out.z {
            *z = predictor.call(net, *z)?;
        }
        for view in views {
            let [_, k] = net.momentum(|net| net.untracked(|net| embedder.call(net, *view)))?;
            // Keys are constants, whatever is asked for a gradient.
            out.z.push(net.stop_gradient(k)?);
        }
        Ok(out)
    }

    fn loss(&self, net: &mut Net<'_>, z: &[TensorId]) -> Result<LossOutput> {
        let &[q1, q2, k1, k2] = z else {
            return Err(crate::graph::GraphError::Invalid(
                "queries and keys of two views".into(),
            ));
        };
        let keys = [net.stop_gradient(k1)?, net.stop_gradient(k2)?];
        let out = match &self.amcl {
            None => mocov3(net, [q1, q2], keys, &self.temperature)?,
            Some(a) => with_scorer(net, a, self.projector.out, |g, s| {
                amcl_mocov3(g, [q1, q2], keys, a, self.scale, s)
            })?,
        };
        Ok(LossOutput {
            keys: keys.into(),
            ..out
        })
    }
}

impl Diagnostics for MocoV3 {
    fn projector(&self) -> &Mlp {
        &self.projector
    }

    fn predictor(&self) -> Option<&Mlp> {
        Some(&self.predictor)
    }

    fn temperatures(&self) -> std::result::Result<(Amcl, Temperatures), &'static str> {
        pair_temperatures(self.amcl.as_ref(), Temperatures::AllPairs)
    }
}
