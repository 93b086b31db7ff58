//! Methods: encoder, heads and loss put together as one graph. A method is a file: its settings, safeguards, checks,
//! what it draws, its graph, what stays after training. [`METHODS`] lists them; `docs/ADDING_A_METHOD.md` says how to
//! write another.

pub mod barlow_twins;
pub mod byol;
pub mod can;
pub mod draws;
pub mod lgp;
pub mod loss;
pub mod loss_file;
pub mod mae;
pub mod moco;
pub mod mocov3;
pub mod recipe;
pub mod simclr;
pub mod simsiam;
pub mod vicreg;

pub use draws::{Batch, Draws, Groups, Numbers, Views};
pub use recipe::{Chosen, Given, Recipe, Spec};

use crate::comm::World;
use crate::graph::{Graph, GraphError, Result, TensorId};
use crate::nn::backbones::{Backbone, Network};
use crate::nn::heads::{Mlp, MlpLayers, Phi};
use crate::nn::model::{MOMENTUM_COPY, PARAMS};
use crate::nn::{Net, Part};
use crate::ops::all_gather_rows::AllGatherRows;
use crate::ops::ema::Ema;
use crate::ops::reshape::Reshape;
use crate::ops::swap_axes::SwapAxes;
use crate::settings::did_you_mean;
use loss::{Amcl, LossOutput, Parametrisation, Path, Plain, Scorer, Term, contrastive};

/// All methods, in the order in which they are listed for people.
pub static METHODS: &[&Spec] = &[
    &simclr::SPEC,
    &moco::SPEC,
    &simsiam::SPEC,
    &barlow_twins::SPEC,
    &byol::SPEC,
    &vicreg::SPEC,
    &mocov3::SPEC,
    &mae::SPEC,
    &can::SPEC,
    &lgp::SPEC,
];

/// The method of this name.
///
/// # Errors
/// There is none; lists the names.
pub fn spec(name: &str) -> std::result::Result<&'static Spec, String> {
    METHODS
        .iter()
        .find(|m| m.name == name)
        .copied()
        .ok_or_else(|| {
            let all = METHODS.iter().map(|m| m.name);
            format!(
                "method.name: no method `{name}`; {}",
                did_you_mean(name, all)
            )
        })
}

/// A self-supervised method with its settings: what a training step computes.
pub trait Method {
    /// The encoder, which is what stays after training.
    fn encoder(&self) -> &dyn Backbone;

    /// What is drawn for every image of a step.
    fn draws(&self) -> Draws {
        Draws::views(Views::Two)
    }

    /// Appends one step: from what was drawn for a batch to the loss. Parameters are declared at first sight, always
    /// in the same order.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn build(&self, net: &mut Net<'_>, batch: &Batch) -> Result<LossOutput>;

    /// The embed/loss split, for methods whose loss couples the images of a batch: their batches can be embedded in
    /// micro-batches and still have the loss of the whole (gradient caching; Gao et al., 2021). The loss of other
    /// methods is a mean over images, which micro-batches leave as it is.
    fn split(&self) -> Option<&dyn SplitLoss> {
        None
    }

    /// Decay of the momentum encoder at the start and at the end of a run, where there is one. A negative end:
    /// constant.
    fn momentum(&self) -> Option<[f32; 2]> {
        None
    }

    /// Steps by which the decay of [`Method::after_step`]'s update is ahead of the step behind which it stands. 0: the
    /// decay is that step's. 1: the next one's, for methods whose copy follows before a step's keys are made.
    fn momentum_ahead(&self) -> usize {
        0
    }

    /// Appended to the graph behind the gradient: what must see the state as the loss saw it (queues).
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn after_gradient(&self, net: &mut Net<'_>, out: &LossOutput) -> Result<()> {
        let _ = (net, out);
        Ok(())
    }

    /// Appended to the graph of the optimiser's step (momentum encoders).
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn after_step(&self, net: &mut Net<'_>) -> Result<()> {
        let _ = net;
        Ok(())
    }

    /// What the method makes of hidden patches, where it predicts their pixels.
    fn reconstructs(&self) -> Option<&dyn Reconstructs> {
        None
    }

    /// What can be looked at of the method's heads, where it has any whose similarities mean something.
    fn diagnostics(&self) -> Option<&dyn Diagnostics> {
        None
    }
}

/// A method that predicts the pixels of hidden patches: for pictures of them.
pub trait Reconstructs {
    /// Appends the prediction for a batch, of the first view of each image.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn reconstructed(&self, net: &mut Net<'_>, batch: &Batch) -> Result<Reconstructed>;
}

/// What [`Reconstructs::reconstructed`] appends. Tensors may have further rows than the first view of each image.
#[derive(Clone, Copy, Debug)]
pub struct Reconstructed {
    /// The views as the encoder gets them, before patches are hidden [n,s,s,3].
    pub seen: TensorId,
    /// What the prediction is compared with [n,s,s,3].
    pub target: TensorId,
    /// The prediction [n,l,3pp].
    pub pred: TensorId,
    /// 1 where a patch is hidden [n,l].
    pub mask: TensorId,
    /// Side of a patch.
    pub patch: usize,
    /// The prediction is of patches of mean 0 and deviation 1.
    pub norm_pix: bool,
}

/// The embed/loss split of a step: [`Method::build`] is one behind the other.
pub trait SplitLoss {
    /// A (micro-)batch -> embeddings of its views, by encoder and heads. Nothing but batch norm couples the rows.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn embed(&self, net: &mut Net<'_>, batch: &Batch) -> Result<Embedded>;

    /// The loss takes the embeddings of this rank's images, and gathers the others' by itself: its own anchors' loss is
    /// all that a rank computes.
    fn shares_rows(&self) -> bool {
        false
    }

    /// Embeddings -> loss; what it leaves out of [`LossOutput`] are the features.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn loss(&self, net: &mut Net<'_>, z: &[TensorId]) -> Result<LossOutput>;
}

/// What [`SplitLoss::embed`] makes of views.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// Backbone features, as [`LossOutput::features`].
    pub features: Vec<TensorId>,
    /// Embeddings [c,n,d'], each with the rows of a tensor of views: one for each of these, or for some of them
    /// several. What the loss takes no gradient of (a momentum encoder's keys) may be among them.
    pub z: Vec<TensorId>,
    /// The part of the loss that needs no other image, where there is one.
    pub own: Option<Own>,
}

/// A part of a loss that is a mean over images: micro-batches leave it as it is.
#[derive(Clone, Debug)]
pub struct Own {
    /// Weighed, to be added to the loss of the embeddings [1].
    pub loss: TensorId,
    /// The terms that it is made of, as [`LossOutput::terms`].
    pub terms: Vec<Term>,
}

/// What a trained run's heads can be looked at with: similarities of pairs of images, and the temperatures that the
/// loss would give them.
pub trait Diagnostics {
    /// The projection heads. They are dropped after training.
    fn projector(&self) -> &Mlp;

    /// Predictors, where the loss compares predictions with projections.
    fn predictor(&self) -> Option<&Mlp> {
        None
    }

    /// Which pairs of images the loss gives temperatures to; or why none has one of its own, in words.
    ///
    /// # Errors
    /// The words.
    fn temperatures(&self) -> std::result::Result<(Amcl, Temperatures), &'static str>;
}

/// Pairs of images that have temperatures of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temperatures {
    /// Positive and negative pairs.
    AllPairs,
    /// Positive pairs only: the loss has no others.
    PositivePairs,
}

/// Why pairs have no temperatures of their own where AMCL is off, or constant.
fn pair_temperatures(
    amcl: Option<&Amcl>,
    pairs: Temperatures,
) -> std::result::Result<(Amcl, Temperatures), &'static str> {
    match amcl {
        None => Err(
            "none, this run is without AMCL: one temperature for all pairs changes no order among them",
        ),
        Some(a) if a.roles() == (false, false) => Err(
            "none, amcl.adaptive is \"none\": one temperature for all pairs changes no order among them",
        ),
        Some(a) => Ok((*a, pairs)),
    }
}

/// The embeddings that the loss takes [c, rows, d'] from those of this rank's parts, which lie one after the other in
/// x, [c,n,d'] each: those of the whole batch, of which other ranks' come from them; or, where ranks share the loss's
/// rows, this rank's. Rows of a tensor of views stand view by view, so that those of all parts are in the order in
/// which the loss expects them.
///
/// # Errors
/// Shapes that do not fit.
pub(crate) fn of_all_parts(
    net: &mut Net<'_>,
    (of, x): (&dyn SplitLoss, TensorId),
    (own, [c, n, d]): (usize, [usize; 3]),
    batch: &Batch,
) -> Result<TensorId> {
    let world = match of.shares_rows() {
        true => World::default(),
        false => net.shares_loss(),
    };
    let of_all: Option<usize> = world.lengths(own).map(|l| l.iter().sum());
    let uneven = || GraphError::Invalid(format!("{own} parts are not in this rank's share"));
    let (parts, inside) = (of_all.ok_or_else(uneven)?, 2 / batch.views.len());
    let x = match (world.is_alone(), world.is_even()) {
        (true, _) => x,
        (false, true) => net.push1(AllGatherRows { world }, &[x])?,
        (false, false) => {
            let shape = [own, c * n * d].into();
            let x = net.push1(Reshape { shape }, &[x])?;
            net.push1(AllGatherRows { world }, &[x])?
        }
    };
    if parts == 1 {
        return Ok(x);
    }
    let op = SwapAxes {
        axes: [1, parts, c * inside, n / inside * d],
        out: [c, parts * n, d].into(),
    };
    net.push1(op, &[x])
}

/// The outputs of heads [c,n,d'], where there are several.
pub(crate) fn several(g: &Graph, z: TensorId) -> Vec<TensorId> {
    let is = g.dims(z).len() == 3 && g.dims(z)[0] > 1;
    is.then_some(z).into_iter().collect()
}

/// Both parts of a split loss, one behind the other.
///
/// # Errors
/// Shapes that do not fit.
fn embed_and_loss(of: &dyn SplitLoss, net: &mut Net<'_>, batch: &Batch) -> Result<LossOutput> {
    let mut e = of.embed(net, batch)?;
    for z in &mut e.z {
        let &[c, n, d] = net.dims(*z) else {
            return Err(GraphError::Invalid("embeddings are [c,n,d']".into()));
        };
        *z = of_all_parts(net, (of, *z), (1, [c, n, d]), batch)?;
    }
    let mut out = LossOutput {
        features: e.features,
        heads: several(net, e.z[0]),
        ..of.loss(net, &e.z)?
    };
    if let Some(own) = e.own {
        out.loss = net.add(out.loss, own.loss)?;
        out.terms.extend(own.terms);
    }
    Ok(out)
}

/// How the loss over all pairs of views is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllPairs {
    /// By matrices or by tiles.
    pub path: Path,
    /// Each rank computes, by tiles, the loss of its own anchors alone.
    pub share_rows: bool,
}

impl AllPairs {
    /// Of one rank.
    pub fn by(path: Path) -> Self {
        Self {
            path,
            share_rows: false,
        }
    }

    fn of(r: &Recipe) -> Self {
        Self {
            path: r.loss.path,
            share_rows: r.shares_rows(),
        }
    }

    /// The loss of views z [c,n,d'], plain or with AMCL: NT-Xent with the positive in the denominator, or Eqs. (2.1)
    /// and (2.4). z is what [`SplitLoss::loss`] gets.
    fn loss(
        self,
        net: &mut Net<'_>,
        z: TensorId,
        plain: &Plain,
        amcl: Option<&Amcl>,
    ) -> Result<LossOutput> {
        let (path, world) = (self.path, net.shares_loss());
        let own = (z, &world);
        let shared = self.share_rows && !world.is_alone();
        match amcl {
            None if shared => contrastive::nt_xent_of_ranks(net, own, plain, true),
            None => contrastive::nt_xent(net, z, plain, true, path),
            Some(a) => {
                let d = net.dims(z)[2];
                with_scorer(net, a, d, |g, s| match shared {
                    true => contrastive::amcl_of_ranks(g, own, a, s),
                    false => contrastive::amcl(g, z, a, s, path),
                })
            }
        }
    }
}

/// Encoder and projection heads, with their parameters.
struct Embedder {
    encoder: Box<dyn Network>,
    heads: MlpLayers,
}

impl Embedder {
    fn new(net: &mut Net<'_>, encoder: &dyn Backbone, heads: &Mlp) -> Self {
        let layers = net.part(Part::Encoder, |net| encoder.layers(net));
        Self {
            encoder: layers,
            heads: heads.layers(net, Part::Projector, encoder.width()),
        }
    }

    /// View [n,s,s,3] -> pooled features [n,d] and embeddings [c,n,d'].
    fn call(&self, net: &mut Net<'_>, view: TensorId) -> Result<[TensorId; 2]> {
        let f = self.encoder.call(net, view)?.pooled;
        Ok([f, self.heads.call(net, f)?])
    }

    /// Each of the views by itself.
    fn each(&self, net: &mut Net<'_>, views: &[TensorId]) -> Result<Embedded> {
        let (mut features, mut z) = (Vec::new(), Vec::new());
        for view in views {
            let [f, e] = self.call(net, *view)?;
            features.push(f);
            z.push(e);
        }
        Ok(Embedded {
            features,
            z,
            own: None,
        })
    }
}

/// The temperature network of an AMCL loss over rows of length `d`, with a gain where its parametrisation has one.
fn phi_of(net: &mut Net<'_>, a: &Amcl, d: usize) -> Phi {
    let gain = a.roles() != (false, false) && a.parametrisation == Parametrisation::Centred;
    net.lr_multiplier(a.phi_lr, |net| Phi::new(net, d, a.phi_hidden, gain))
}

/// Builds `part` on the graph with the scorer of an AMCL loss over rows of length `d`. Where nothing adapts, there is
/// no temperature network.
fn with_scorer<R>(
    net: &mut Net<'_>,
    a: &Amcl,
    d: usize,
    part: impl FnOnce(&mut Graph, Scorer<'_>) -> Result<R>,
) -> Result<R> {
    if a.roles() == (false, false) {
        let mut unused = |_: &mut Graph, z: TensorId| Ok(z);
        let scorer = Scorer {
            phi: &mut unused,
            gain: None,
        };
        return part(net.graph, scorer);
    }
    let values = phi_of(net, a, d).values(net);
    let mut phi = |g: &mut Graph, z: TensorId| values.call(g, z);
    let scorer = Scorer {
        phi: &mut phi,
        gain: values.gain,
    };
    part(net.graph, scorer)
}

/// The momentum copy follows the parameters: copy = m copy + (1 - m) parameters, m = step.ema.
fn update_momentum_copy(net: &mut Net<'_>) -> Result<()> {
    let ids = [PARAMS, MOMENTUM_COPY].map(|group| net.model.states.whole(group));
    if let [Some(from), Some(to)] = ids {
        let (x, target) = (net.state(from), net.state(to));
        net.push_updating(Ema, &[x], &[target])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_a_wrong_one_lists_them() {
        for (i, m) in METHODS.iter().enumerate() {
            assert!(
                METHODS[..i]
                    .iter()
                    .all(|o| o.name != m.name && o.title != m.title),
                "{}",
                m.name
            );
            assert!(std::ptr::eq(spec(m.name).unwrap(), *m));
        }
        let e = spec("simclrr").err().unwrap();
        assert!(e.contains("`simclrr`") && e.contains("simclr, moco"), "{e}");
    }
}
