//! Losses with negatives: NT-Xent and InfoNCE, and AMCL's Eqs. (2.1) and (2.4), within the batch (SimCLR) or with a
//! queue (MoCo).

use super::scorer::{Products, scored_heads};
use super::{Adaptive, Amcl, LossOutput, NegOmega, Negatives, Pairs, Path, Plain, Scorer};
use crate::comm::World;
use crate::graph::{Graph, GraphError, Result, TensorId};
use crate::ops::amcl_form::AmclForm;
use crate::ops::amcl_loss::AmclLoss;
use crate::ops::amcl_stream::{AmclStream, Share};
use crate::ops::amcl_stream_of_ranks::AmclStreamOfRanks;
use crate::ops::prepend_column::PrependColumn;
use crate::ops::sample_views::SampleViews;
use crate::ops::top_k::TopK;
use crate::ops::top_k_stream::TopKStream;
use crate::ops::views_of_ranks::ViewsOfRanks;
use crate::reference::top_k::Layout;

/// A constant temperature and the log-sum-exp over all negatives, and the positive if `include_positive`.
fn plain(tau: f64, include_positive: bool) -> Amcl {
    Amcl {
        adaptive: Adaptive::None,
        negatives: Negatives::Softmax,
        tau_const: tau,
        include_positive,
        beta: 0.0,
        ..Amcl::default()
    }
}

/// NT-Xent of z [1,2B,d'] (Eq. 1.1; with the positive in the denominator, as implementations have it, if
/// `include_positive`, which MACL needs).
///
/// # Errors
/// Shapes that do not fit.
pub fn nt_xent(
    g: &mut Graph,
    z: TensorId,
    t: &Plain,
    include_positive: bool,
    path: Path,
) -> Result<LossOutput> {
    let stream = path
        .streams(t.streamable(), g.dims(z))
        .map_err(GraphError::Invalid)?;
    g.scope("loss", |g| {
        let zn = g.l2_normalize(z)?;
        if stream {
            return streamed(g, &plain(t.tau, include_positive), (zn, None), None);
        }
        let s = g.matmul_nt(zn, zn)?;
        plain_loss(g, t, include_positive, Layout::NtXent, s)
    })
}

/// As [`nt_xent`], streamed, of a rank's own z [1,2b,d'] against those of all ranks: the mean over its own anchors. The
/// ranks' mean is the loss of the whole batch.
///
/// # Errors
/// Shapes that do not fit.
pub fn nt_xent_of_ranks(
    g: &mut Graph,
    (z, world): (TensorId, &World),
    t: &Plain,
    include_positive: bool,
) -> Result<LossOutput> {
    g.scope("loss", |g| {
        let zn = g.l2_normalize(z)?;
        let a = plain(t.tau, include_positive);
        streamed(g, &a, (zn, Some(world)), None)
    })
}

/// InfoNCE of q, k [1,B,d'] and a queue [1,K,d'].
///
/// # Errors
/// Shapes that do not fit.
pub fn moco(
    g: &mut Graph,
    q: TensorId,
    k: TensorId,
    queue: TensorId,
    t: &Plain,
) -> Result<LossOutput> {
    g.scope("loss", |g| {
        let x = [
            g.l2_normalize(q)?,
            g.l2_normalize(k)?,
            g.l2_normalize(queue)?,
        ];
        let s = against_queue(g, x)?;
        plain_loss(g, t, true, Layout::Pairs, s)
    })
}

/// The mean over anchors of the cross-entropy of similarities s over the temperature.
pub(super) fn plain_loss(
    g: &mut Graph,
    t: &Plain,
    include_positive: bool,
    layout: Layout,
    s: TensorId,
) -> Result<LossOutput> {
    let a = plain(t.tau, include_positive);
    let Some(macl) = &t.macl else {
        return finish(g, &a, layout, s, None, 1);
    };
    let scaled = macl.scaled(g, layout, s)?;
    let each = anchors_loss(g, &a, layout, scaled, None, 1)?;
    let each = macl.weighed(g, each)?;
    built(g, layout, s, None, each)
}

/// The AMCL loss of z [c,2B,d'] (un-normalised; rows 0..B view 1, B..2B view 2).
///
/// # Errors
/// Shapes that do not fit.
pub fn amcl(
    g: &mut Graph,
    z: TensorId,
    a: &Amcl,
    mut scorer: Scorer<'_>,
    path: Path,
) -> Result<LossOutput> {
    let stream = path.streams(true, g.dims(z)).map_err(GraphError::Invalid)?;
    g.scope("loss", |g| {
        let zn = g.l2_normalize(z)?;
        if stream {
            return streamed(g, a, (zn, None), Some(scorer));
        }
        of_rows(g, a, Layout::NtXent, [zn], &mut scorer, |g, [z]| {
            g.matmul_nt(z, z)
        })
    })
}

/// As [`amcl`], streamed, of a rank's own z [c,2b,d'] against those of all ranks: the mean over its own anchors. The
/// ranks' mean is the loss of the whole batch.
///
/// # Errors
/// Shapes that do not fit.
pub fn amcl_of_ranks(
    g: &mut Graph,
    (z, world): (TensorId, &World),
    a: &Amcl,
    scorer: Scorer<'_>,
) -> Result<LossOutput> {
    g.scope("loss", |g| {
        let zn = g.l2_normalize(z)?;
        streamed(g, a, (zn, Some(world)), Some(scorer))
    })
}

/// The AMCL loss of unit rows x [c,n,d'], whose similarities `products` makes, and whose scores it makes of phi's
/// features of these rows.
pub(super) fn of_rows<const N: usize>(
    g: &mut Graph,
    a: &Amcl,
    layout: Layout,
    x: [TensorId; N],
    scorer: &mut Scorer<'_>,
    products: fn(&mut Graph, [TensorId; N]) -> Result<TensorId>,
) -> Result<LossOutput> {
    let s = products(g, x)?;
    let score = if a.roles() == (false, false) {
        None
    } else {
        let mut p = x;
        for t in &mut p {
            let heads = scored_heads(g, a, *t)?;
            *t = scorer.features(g, a, heads)?;
        }
        let r = products(g, p)?;
        Some(scorer.scores(g, a, r, layout == Layout::NtXent)?)
    };
    let d = g.dims(x[0])[2];
    finish(g, a, layout, s, score, d)
}

/// Images of which all pairs are made to look at, where the loss keeps none.
const LOOKED_AT: usize = 128;

/// The settings as the loss's ops take them.
fn form(a: &Amcl) -> AmclForm {
    let (adaptive_pos, adaptive_neg) = a.roles();
    AmclForm {
        top_k: a.selected().is_some(),
        warmup: a.warmup_epochs > 0,
        official_sum: a.neg_omega == NegOmega::OfficialSum,
        adaptive_pos,
        adaptive_neg,
        include_positive: a.include_positive,
        beta: a.beta,
        eta: a.tau_min,
        iota: a.range(),
        tau_const: a.tau_const,
    }
}

/// The AMCL loss of unit rows z [c,2B,d'] without matrices of all pairs; of ranks, of this one's rows against all.
fn streamed(
    g: &mut Graph,
    a: &Amcl,
    (z, world): (TensorId, Option<&World>),
    scorer: Option<Scorer<'_>>,
) -> Result<LossOutput> {
    let of_rank = |w: &World| Share {
        rank: w.rank(),
        ranks: w.ranks(),
    };
    let (form, share) = (form(a), world.map_or(Share::WHOLE, of_rank));
    let mut own = vec![z];
    let mut centre = None;
    if let Some(mut scorer) = scorer.filter(|_| form.adaptive()) {
        let heads = scored_heads(g, a, z)?;
        let p = scorer.features(g, a, heads)?;
        centre = scorer.centre(g, a, [p, p], Products::Square(world))?;
        own.push(p);
    }
    let of_all = |g: &mut Graph, what, own: Vec<TensorId>| match world.cloned() {
        Some(world) => g.push(ViewsOfRanks { world, what }, &own),
        None => Ok(own),
    };
    let operands = of_all(g, "rows", own.clone())?;
    let mut inputs = operands.clone();
    inputs.extend(centre.into_iter().flat_map(|c| [c.gain, c.mean]));
    if let Some(kappa) = a.selected() {
        let op = TopKStream {
            kappa,
            include_positive: a.include_positive,
            share,
        };
        let thresholds = g.push(op, &operands[..1])?;
        inputs.extend(of_all(g, "thresholds", thresholds)?);
    }
    let stream = AmclStream {
        form,
        centre: centre.map(|c| c.offset),
        share,
    };
    let each = match world {
        None => g.push(stream, &inputs)?[0],
        Some(world) => {
            let world = world.clone();
            inputs.extend(own);
            g.push(AmclStreamOfRanks { stream, world }, &inputs)?[0]
        }
    };
    let anchors = g.dims(each)[1];
    let loss = g.scaled_sum(each, 1.0 / anchors as f64)?;
    let views = g.dims(operands[0])[1] / 2;
    let rows = LOOKED_AT.min(views);
    let sample = g.push1(SampleViews { rows }, &operands[..1])?;
    let similarity = g.matmul_nt(sample, sample)?;
    let mut score = None;
    if let Some(features) = operands.get(1) {
        let sample = g.push1(SampleViews { rows }, &[*features])?;
        let [p, q] = match centre {
            Some(centre) => centre.joined(g, [sample, sample])?,
            None => [sample, sample],
        };
        score = Some(g.matmul_nt(p, q)?);
    }
    Ok(LossOutput::of_pairs(loss, similarity, score, Pairs::Views))
}

/// The AMCL loss of queries q and keys k [c,B,d'] with queues [c,K,d'] (all un-normalised). Keys and queue are
/// constants to the similarities, but phi gets gradients through them.
///
/// # Errors
/// Shapes that do not fit.
pub fn amcl_moco(
    g: &mut Graph,
    q: TensorId,
    k: TensorId,
    queue: TensorId,
    a: &Amcl,
    mut scorer: Scorer<'_>,
) -> Result<LossOutput> {
    g.scope("loss", |g| {
        let x = [
            g.l2_normalize(q)?,
            g.l2_normalize(k)?,
            g.l2_normalize(queue)?,
        ];
        of_rows(g, a, Layout::Pairs, x, &mut scorer, against_queue)
    })
}

/// Products of queries with their keys and with the queue: [c,B,1+K].
fn against_queue(g: &mut Graph, [q, k, queue]: [TensorId; 3]) -> Result<TensorId> {
    let positive = g.row_dot(q, k)?;
    let negatives = g.matmul_nt(q, queue)?;
    g.push1(PrependColumn, &[positive, negatives])
}

/// From similarities and scores to the loss.
fn finish(
    g: &mut Graph,
    a: &Amcl,
    layout: Layout,
    s: TensorId,
    score: Option<TensorId>,
    d: usize,
) -> Result<LossOutput> {
    let each = anchors_loss(g, a, layout, s, score, d)?;
    built(g, layout, s, score, each)
}

/// The loss of every anchor and head, [c,a].
fn anchors_loss(
    g: &mut Graph,
    a: &Amcl,
    layout: Layout,
    s: TensorId,
    score: Option<TensorId>,
    d: usize,
) -> Result<TensorId> {
    let selected = a.selected();
    let mut inputs = vec![s];
    inputs.extend(score);
    if let Some(kappa) = selected {
        let op = TopK {
            kappa,
            layout,
            include_positive: a.include_positive,
        };
        inputs.extend(g.push(op, &[s])?);
    }
    let op = AmclLoss {
        form: form(a),
        layout,
        d,
    };
    Ok(g.push(op, &inputs)?[0])
}

/// The mean over anchors of their losses, summed over heads.
fn built(
    g: &mut Graph,
    layout: Layout,
    s: TensorId,
    score: Option<TensorId>,
    each: TensorId,
) -> Result<LossOutput> {
    let anchors = g.dims(s)[1];
    let loss = g.scaled_sum(each, 1.0 / anchors as f64)?;
    let which = match layout {
        Layout::NtXent => Pairs::Views,
        Layout::Diagonal => Pairs::Keys,
        Layout::Pairs | Layout::All => Pairs::FirstColumn,
    };
    Ok(LossOutput::of_pairs(loss, s, score, which))
}
