//! Methods: encoder, heads and loss put together as one graph.

pub mod barlow_twins;
pub mod byol;
pub mod loss;
pub mod loss_file;
pub mod moco;
pub mod simclr;
pub mod simsiam;
pub mod vicreg;

use crate::graph::{Graph, Result, TensorId};
use crate::nn::heads::{self, Mlp};
use crate::nn::resnet::ResNet;
use crate::nn::{Init, Model, Norm};
use crate::ops::ema::Ema;
use loss::{Amcl, Built, Parametrisation, Scorer};

/// A self-supervised method: what a training step computes. One file a method; `docs/ADDING_A_METHOD.md` says how to write another.
pub trait Method {
    /// The encoder, which is what remains after training.
    fn encoder(&self) -> &ResNet;

    /// The projection heads, for looking at what they do; they are dropped after training.
    fn head(&self) -> &Mlp;

    /// The two views come as tensors of their own, each with batch statistics of its own (`false`: as one).
    fn apart(&self) -> bool {
        true
    }

    /// Views -> loss: two tensors [B,s,s,3], or, together, one [2B,s,s,3] whose rows 0..B are the first view of each image. Parameters are declared in `m` at first
    /// sight.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn loss(&self, g: &mut Graph, m: &mut Model, views: &[TensorId]) -> Result<Built>;

    /// The loss in two halves, for methods whose loss couples the images of a batch: their batches can be embedded in micro-batches and still have the loss of the whole
    /// (gradient caching; Gao et al., 2021). The loss of the others is a mean over images, which micro-batches leave as it is.
    fn halves(&self) -> Option<&dyn Halves> {
        None
    }

    /// What stands for an image as the anchor of a pair, from its embeddings z [c,n,d']: these themselves, or a predictor's output. For looking, as [`embeddings`].
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn anchors(&self, g: &mut Graph, m: &mut Model, z: TensorId) -> Result<TensorId> {
        let _ = (g, m);
        Ok(z)
    }

    /// Appended to the graph behind the gradient: what must see the state as the loss saw it (queues).
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn after_gradient(&self, g: &mut Graph, m: &mut Model, built: &Built) -> Result<()> {
        let _ = (g, m, built);
        Ok(())
    }

    /// Appended to the graph of the optimiser's step (momentum encoders).
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn after_step(&self, g: &mut Graph, m: &Model) -> Result<()> {
        let _ = (g, m);
        Ok(())
    }
}

/// What [`Halves::embed`] makes of views.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// Backbone features, as [`Built::features`].
    pub features: Vec<TensorId>,
    /// Embeddings [c,n,d'], as many as there were tensors of views, with their rows.
    pub z: Vec<TensorId>,
}

/// A method's loss in two halves: [`Method::loss`] is one behind the other.
pub trait Halves {
    /// Views -> embeddings, by encoder and heads. Nothing but batch norm couples the rows.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn embed(&self, g: &mut Graph, m: &mut Model, views: &[TensorId]) -> Result<Embedded>;

    /// Embeddings -> loss; what it leaves out of [`Built`] are the features.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn loss_of(&self, g: &mut Graph, m: &mut Model, z: &[TensorId]) -> Result<Built>;
}

/// The two halves of a loss, one behind the other.
///
/// # Errors
/// Shapes that do not fit.
fn joined(h: &dyn Halves, g: &mut Graph, m: &mut Model, views: &[TensorId]) -> Result<Built> {
    let e = h.embed(g, m, views)?;
    Ok(Built {
        features: e.features,
        ..h.loss_of(g, m, &e.z)?
    })
}

/// Each view by itself through encoder and heads.
fn embed_apart(
    encoder: &ResNet,
    projector: &Mlp,
    g: &mut Graph,
    m: &mut Model,
    views: &[TensorId],
) -> Result<Embedded> {
    let (mut features, mut z) = (Vec::new(), Vec::new());
    for view in views {
        let f = encoder.build(g, m, *view, true)?;
        features.push(f);
        z.push(projector.build(g, m, "head", f)?);
    }
    Ok(Embedded { features, z })
}

/// Images [B,s,s,3] -> backbone features [B,d] with running statistics: what evaluation and downstream tasks use.
///
/// # Errors
/// Shapes that do not fit.
pub fn features(
    encoder: &ResNet,
    g: &mut Graph,
    m: &mut Model,
    images: TensorId,
) -> Result<TensorId> {
    encoder.build(g, m, images, false)
}

/// Builds `part` with the scorer of the AMCL loss: phi and, where the parametrisation has one, its gain.
fn with_scorer<R>(
    g: &mut Graph,
    m: &mut Model,
    a: &Amcl,
    part: impl FnOnce(&mut Graph, Scorer<'_>) -> Result<R>,
) -> Result<R> {
    let adapts = a.roles() != (false, false);
    let gain = (adapts && a.parametrisation == Parametrisation::Centred)
        .then(|| m.param_with(g, "phi.gain", &[1], Init::Constant(1.0), a.phi_lr));
    let mut phi = |g: &mut Graph, z: TensorId| heads::phi(g, m, z, a.phi_hidden, a.phi_lr);
    let scorer = Scorer {
        phi: &mut phi,
        gain,
    };
    part(g, scorer)
}

/// Builds `part` on the momentum branch with batch norm of this kind; both are put back afterwards.
fn on_branch<R>(
    m: &mut Model,
    norm: Norm,
    part: impl FnOnce(&mut Model) -> Result<R>,
) -> Result<R> {
    let before = (m.norm, m.momentum_branch);
    (m.norm, m.momentum_branch) = (norm, true);
    let out = part(m);
    (m.norm, m.momentum_branch) = before;
    out
}

/// The momentum branch follows the parameters: key = m key + (1 - m) query, m = step.ema.
fn follow(g: &mut Graph, m: &Model) -> Result<()> {
    let ids = ["params", crate::nn::MOMENTUM_BRANCH].map(|name| m.states.whole(name));
    if let [Some(from), Some(to)] = ids {
        let (x, target) = (g.state(&m.states, from), g.state(&m.states, to));
        g.push_updating(Ema, &[x], &[target])?;
    }
    Ok(())
}
