//! SimSiam (Chen & He, CVPR 2021), plain and with AMCL's Eq. (2.2): no negatives; a predictor and a stop-gradient
//! keep it from collapsing.

use super::loss::{Adaptive, Amcl, LossOutput, simsiam};
use super::recipe::Chosen;
use super::{
    Batch, Diagnostics, Embedder, Given, Method, Recipe, Spec, Temperatures, pair_temperatures,
    several, with_scorer,
};
use crate::graph::{Result, TensorId};
use crate::nn::heads::{Last, Mlp, MlpLayers, WIDTH};
use crate::nn::{Backbone, Net, Part};
use std::sync::Arc;

crate::section! {
    /// Settings of `[method]`.
    Settings {
        /// One projector for all heads.
        shared_target: bool = false,
        /// Without it, the method collapses: a demonstration.
        predictor: bool = true,
        /// Hidden width of the predictor.
        predictor_hidden: usize = 512 => WIDTH,
    }
}

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct SimSiam {
    /// Encoder.
    pub encoder: Arc<dyn Backbone>,
    /// Projectors, one a head, or one for all heads: Table 2 of the AMCL paper prints the target h without a head
    /// index.
    pub projector: Mlp,
    /// Predictors, one a head; `None`: the projections themselves predict, which collapses (the paper's ablation; a
    /// demonstration).
    pub predictor: Option<Mlp>,
    /// The AMCL loss; `None`: the negative cosine.
    pub amcl: Option<Amcl>,
}

/// The method for configurations.
pub static SPEC: Spec = Spec {
    recipe: &["heads.out=512"],
    amcl: true,
    safeguards,
    check,
    ..Spec::new::<Settings>(
        "simsiam",
        "SimSiam",
        "a predictor finds one view's projection from the other's; no negatives, no momentum encoder",
        build,
    )
};

fn build(r: &Recipe, encoder: Arc<dyn Backbone>) -> std::result::Result<Box<dyn Method>, String> {
    let s: Settings = r.own()?;
    let heads = if s.shared_target { 1 } else { r.heads.count };
    Ok(Box::new(SimSiam {
        encoder,
        projector: Mlp {
            heads,
            ..r.projector(true)
        },
        predictor: s.predictor.then(|| r.predictor(s.predictor_hidden)),
        amcl: r.amcl(),
    }))
}

/// The projector ends with batch norm. With AMCL, phi is as wide as d' (at least the usual width): temperatures start
/// at 2 / (1 + exp(1/9 + d'/(3 width))), which a narrow phi brings to the floor; and beta is 1e-4.
fn safeguards(r: &mut Recipe, given: Given<'_>) {
    if !given("heads", "last") {
        r.heads.last = Last::Norm;
    }
    let (adapts, a) = (r.adapts(), &mut r.amcl.switches);
    if adapts && !given("amcl", "phi_hidden") {
        a.phi_hidden = a.phi_hidden.max(r.heads.out);
    }
    if adapts && !given("amcl", "beta") {
        a.beta = 1e-4;
    }
}

fn check(r: &Recipe, _: &Chosen<'_>) -> std::result::Result<(), String> {
    match r.amcl() {
        Some(a) if a.adaptive == Adaptive::NegativeOnly => Err(
            "simsiam has no negatives whose temperature could adapt: amcl.adaptive is full (positive_only is \
             the same here), first_head or none".into(),
        ),
        _ => Ok(()),
    }
}

/// The layers of a step.
struct Branch {
    embedder: Embedder,
    predictor: Option<(Mlp, MlpLayers)>,
}

impl Branch {
    /// View -> features, predictions [c,B,d'] and targets [c,B,d'] without gradient.
    fn call(&self, net: &mut Net<'_>, view: TensorId) -> Result<[TensorId; 3]> {
        let [f, z] = self.embedder.call(net, view)?;
        let mut target = net.stop_gradient(z)?;
        let Some((shape, predictor)) = &self.predictor else {
            return Ok([f, z, target]);
        };
        let &[own, b, d] = net.dims(z) else {
            return Ok([f, z, target]);
        };
        let mut input = z;
        if own < shape.heads {
            input = net.reshape(z, [b, d])?;
            let copies = net.repeat(target, shape.heads)?;
            target = net.reshape(copies, [shape.heads, b, d])?;
        }
        Ok([f, predictor.call(net, input)?, target])
    }
}

impl Method for SimSiam {
    fn encoder(&self) -> &dyn Backbone {
        self.encoder.as_ref()
    }

    fn build(&self, net: &mut Net<'_>, batch: &Batch) -> Result<LossOutput> {
        let d = self.projector.out;
        let branch = Branch {
            embedder: Embedder::new(net, self.encoder(), &self.projector),
            predictor: self
                .predictor
                .map(|p| (p, p.layers(net, Part::Predictor, d))),
        };
        let [f1, p1, z1] = branch.call(net, batch.views[0])?;
        let [f2, p2, z2] = branch.call(net, batch.views[1])?;
        let out = match &self.amcl {
            None => simsiam::simsiam(net, (p1, z1), (p2, z2))?,
            Some(a) => with_scorer(net, a, d, |g, s| {
                simsiam::amcl_simsiam(g, (p1, z1), (p2, z2), a, s)
            })?,
        };
        Ok(LossOutput {
            features: vec![f1, f2],
            embedding: Some(z1),
            heads: several(net, p1),
            ..out
        })
    }

    fn diagnostics(&self) -> Option<&dyn Diagnostics> {
        Some(self)
    }
}

impl Diagnostics for SimSiam {
    fn projector(&self) -> &Mlp {
        &self.projector
    }

    fn predictor(&self) -> Option<&Mlp> {
        self.predictor.as_ref()
    }

    fn temperatures(&self) -> std::result::Result<(Amcl, Temperatures), &'static str> {
        pair_temperatures(self.amcl.as_ref(), Temperatures::PositivePairs)
    }
}
