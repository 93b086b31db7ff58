//! BYOL (Grill et al., NeurIPS 2020), plain: the online network predicts the projections of a momentum network. Loss:
//! 2 - 2 cos, both directions.

use super::loss::{Amcl, LossOutput, simsiam};
use super::{
    Batch, Diagnostics, Embedder, Method, Recipe, Spec, Temperatures, pair_temperatures,
    update_momentum_copy,
};
use crate::graph::{Result, TensorId};
use crate::nn::heads::{Mlp, WIDTH};
use crate::nn::{Backbone, Net, Part};
use crate::settings::between;
use std::sync::Arc;

crate::section! {
    /// Settings of `[method]`.
    Settings {
        /// Decay of the momentum encoder.
        momentum: f32 = 0.99 => between(0.0, 1.0),
        /// Its value at the end, approached along a cosine (the paper: 1); negative: constant.
        final_momentum: f32 = -1.0 => between(-1.0, 1.0),
        /// Hidden width of the predictor.
        predictor_hidden: usize = 512 => WIDTH,
    }
}

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct Byol {
    /// Encoder.
    pub encoder: Arc<dyn Backbone>,
    /// Projector, in the momentum branch too.
    pub projector: Mlp,
    /// Predictor.
    pub predictor: Mlp,
    /// Decay of the momentum encoder at the start and the end ([`Method::momentum`]).
    pub momentum: [f32; 2],
}

/// The method for configurations.
pub static SPEC: Spec = Spec {
    needs_large_norm: true,
    ..Spec::new::<Settings>(
        "byol",
        "BYOL",
        "a predictor finds, from one view, what a momentum network makes of the other; no negatives",
        build,
    )
};

fn build(r: &Recipe, encoder: Arc<dyn Backbone>) -> std::result::Result<Box<dyn Method>, String> {
    let s: Settings = r.own()?;
    Ok(Box::new(Byol {
        encoder,
        projector: r.projector(true),
        predictor: r.predictor(s.predictor_hidden),
        momentum: [s.momentum, s.final_momentum],
    }))
}

impl Method for Byol {
    fn encoder(&self) -> &dyn Backbone {
        self.encoder.as_ref()
    }

    fn build(&self, net: &mut Net<'_>, batch: &Batch) -> Result<LossOutput> {
        let embedder = Embedder::new(net, self.encoder(), &self.projector);
        let predictor = self
            .predictor
            .layers(net, Part::Predictor, self.projector.out);
        net.model.make_momentum_copy();
        let (mut online, mut features) = (Vec::new(), Vec::new());
        for view in &batch.views {
            let [f, z] = embedder.call(net, *view)?;
            features.push(f);
            online.push(predictor.call(net, z)?);
        }
        let target = |net: &mut Net<'_>, view: TensorId| {
            let [_, z] = net.momentum(|net| net.untracked(|net| embedder.call(net, view)))?;
            // Targets are constants, whatever is asked for a gradient.
            net.stop_gradient(z)
        };
        let z1 = target(net, batch.views[0])?;
        let z2 = target(net, batch.views[1])?;
        Ok(LossOutput {
            features,
            embedding: Some(z1),
            ..simsiam::byol(net, (online[0], z1), (online[1], z2))?
        })
    }

    fn momentum(&self) -> Option<[f32; 2]> {
        Some(self.momentum)
    }

    fn after_step(&self, net: &mut Net<'_>) -> Result<()> {
        update_momentum_copy(net)
    }

    fn diagnostics(&self) -> Option<&dyn Diagnostics> {
        Some(self)
    }
}

impl Diagnostics for Byol {
    fn projector(&self) -> &Mlp {
        &self.projector
    }

    fn temperatures(&self) -> std::result::Result<(Amcl, Temperatures), &'static str> {
        pair_temperatures(None, Temperatures::PositivePairs)
    }
}
