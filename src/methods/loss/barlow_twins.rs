//! Redundancy reduction: Barlow Twins (Eq. 1.3) and AMCL's Eq. (2.3).

use super::scorer::{Products, for_all_heads, scored_heads};
use super::{Amcl, LossOutput, Pairs, Path, Scorer};
use crate::graph::{Graph, GraphError, Result, TensorId};
use crate::ops::barlow_loss::BarlowLoss;
use crate::ops::barlow_stream::BarlowStream;
use crate::ops::first_rows::FirstRows;
use crate::ops::standardize_columns::{Deviation, StandardizeColumns};
use crate::ops::swap_axes::SwapAxes;

/// What both forms of the loss have.
#[derive(Clone, Copy, Debug)]
pub struct Redundancy {
    /// Weight of the elements off the diagonal.
    pub lambda: f64,
    /// Temperatures on and off the diagonal where they do not adapt; 1 in Eq. (1.3).
    pub constant: [f64; 2],
    /// What makes a channel's deviation over the batch 1.
    pub standardize: Deviation,
    /// How the loss over all pairs of channels is computed.
    pub path: Path,
}

/// sum_l (1 - C_ll/tau_0)^2 + lambda sum_{m != l} C_lm^2/tau_1 of z1, z2 [c,B,d'], C their cross-correlation
/// (of standardised channels, divided by B); tau the `constant` temperatures on and off the diagonal, 1 in Eq. (1.3).
///
/// # Errors
/// Shapes that do not fit.
pub fn barlow_twins(
    g: &mut Graph,
    z1: TensorId,
    z2: TensorId,
    of: &Redundancy,
) -> Result<LossOutput> {
    let stream = streams(g, z1, of)?;
    g.scope("loss", |g| {
        let op = BarlowLoss {
            adaptive_on: false,
            adaptive_off: false,
            constant: of.constant,
            lambda: of.lambda,
            beta: 0.0,
            eta: 1.0,
            iota: 0.0,
        };
        let columns = standardised(g, of, [z1, z2])?;
        match stream {
            true => streamed(g, op, columns, None),
            false => {
                let k = cross_correlation(g, columns)?;
                let each = g.push1(op, &[k])?;
                built(g, each, k, None)
            }
        }
    })
}

/// Eq. (2.3) of z1, z2 [c,B,d']: temperatures of channel pairs (l, m) from phi of the raw channel vectors z1[:,l] and
/// z2[:,m], of length B, so the batch size is fixed. Omega takes d'. A role that does not adapt has its `constant`
/// temperature, without Omega; where neither does, the loss is [`barlow_twins`]. `scorer.phi` maps [c,B,d'], whose
/// columns are the vectors, to [c,d',B].
///
/// # Errors
/// Shapes that do not fit.
pub fn amcl_barlow_twins(
    g: &mut Graph,
    z1: TensorId,
    z2: TensorId,
    of: &Redundancy,
    a: &Amcl,
    mut scorer: Scorer<'_>,
) -> Result<LossOutput> {
    if a.roles() == (false, false) {
        return barlow_twins(g, z1, z2, of);
    }
    let stream = streams(g, z1, of)?;
    g.scope("loss", |g| {
        let op = BarlowLoss {
            adaptive_on: a.roles().0,
            adaptive_off: a.roles().1,
            constant: of.constant,
            lambda: of.lambda,
            beta: a.beta,
            eta: a.tau_min,
            iota: a.range(),
        };
        let columns = standardised(g, of, [z1, z2])?;
        let (x1, x2) = (scored_heads(g, a, z1)?, scored_heads(g, a, z2)?);
        let p1 = scorer.features(g, a, x1)?;
        let p2 = scorer.features(g, a, x2)?;
        if stream {
            let features = match scorer.centre(g, a, [p1, p2], Products::Full)? {
                Some(centre) => centre.joined(g, [p1, p2])?,
                None => [p1, p2],
            };
            return streamed(g, op, columns, Some(features));
        }
        let k = cross_correlation(g, columns)?;
        let r = g.matmul_nt(p1, p2)?;
        let r = scorer.scores(g, a, r, false)?;
        let r = for_all_heads(g, r, z1)?;
        let each = g.push1(op, &[k, r])?;
        built(g, each, k, Some(r))
    })
}

/// Is the loss of z [c,B,d'] streamed?
fn streams(g: &Graph, z: TensorId, of: &Redundancy) -> Result<bool> {
    let d = g.dims(z);
    of.path
        .streams(true, &[d[0], d[2]])
        .map_err(GraphError::Invalid)
}

/// Channels of which all pairs are made to look at, where the loss keeps none.
const LOOKED_AT: usize = 128;

/// The loss of standardised columns [c,B,d'] and, where a temperature adapts, features of both views' channels [c or
/// 1,d',F] whose products are the scores, without matrices of all pairs.
fn streamed(
    g: &mut Graph,
    loss: BarlowLoss,
    columns: [TensorId; 2],
    features: Option<[TensorId; 2]>,
) -> Result<LossOutput> {
    let mut inputs = columns.to_vec();
    inputs.extend(features.iter().flatten());
    let each = g.push1(BarlowStream { loss }, &inputs)?;
    let mut sample = Vec::new();
    for x in columns {
        let [c, n, d] = [0, 1, 2].map(|i| g.dims(x)[i]);
        let first = first_channels(g, x, [1, c * n, d, 1])?;
        let channels = g.ty(first).elements() / (c * n);
        sample.push(g.reshape(first, [c, n, channels])?);
    }
    let similarity = cross_correlation(g, [sample[0], sample[1]])?;
    let mut score = None;
    if let Some(features) = features {
        let mut sample = Vec::new();
        for x in features {
            let [c, d, f] = [0, 1, 2].map(|i| g.dims(x)[i]);
            let first = first_channels(g, x, [1, c, d, f])?;
            let channels = g.ty(first).elements() / (c * f);
            sample.push(g.reshape(first, [c, channels, f])?);
        }
        let r = g.matmul_nt(sample[0], sample[1])?;
        score = Some(for_all_heads(g, r, columns[0])?);
    }
    built(g, each, similarity, score)
}

/// The first channels of x, which is [1,a,channels,b].
fn first_channels(g: &mut Graph, x: TensorId, axes: [usize; 4]) -> Result<TensorId> {
    let [_, a, channels, b] = axes;
    let rows = LOOKED_AT.min(channels);
    let out = [channels, a, b].into();
    let by_channel = g.push1(SwapAxes { axes, out }, &[x])?;
    let first = g.push1(FirstRows { rows }, &[by_channel])?;
    let out = [a, rows, b].into();
    let axes = [1, rows, a, b];
    g.push1(SwapAxes { axes, out }, &[first])
}

/// Results from the loss of each row, similarities and scores.
fn built(
    g: &mut Graph,
    each: TensorId,
    similarity: TensorId,
    score: Option<TensorId>,
) -> Result<LossOutput> {
    Ok(LossOutput::of_pairs(
        g.scaled_sum(each, 1.0)?,
        similarity,
        score,
        Pairs::Diagonal,
    ))
}

/// Both views with columns of deviation 1.
fn standardised(g: &mut Graph, of: &Redundancy, z: [TensorId; 2]) -> Result<[TensorId; 2]> {
    let op = StandardizeColumns {
        deviation: of.standardize,
    };
    Ok([g.push(op, &[z[0]])?[0], g.push(op, &[z[1]])?[0]])
}

/// [c,d',d'] of standardised columns [c,B,d'].
fn cross_correlation(g: &mut Graph, columns: [TensorId; 2]) -> Result<TensorId> {
    let k = g.matmul_tn(columns[0], columns[1])?;
    let rows = g.dims(columns[0])[1];
    g.scale(k, 1.0 / rows as f64)
}
