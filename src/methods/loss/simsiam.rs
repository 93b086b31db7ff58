//! Losses without negatives: SimSiam's negative cosine (Eq. 1.2) and AMCL's Eq. (2.2).

use super::scorer::{for_all_heads, scored_heads};
use super::{Amcl, LossOutput, Pairs, Scorer};
use crate::graph::{Graph, Result, TensorId};
use crate::ops::amcl_pair_loss::AmclPairLoss;

/// Sum over both directions of what `part` makes of (predictor, target): the loss, and similarity and score of the
/// first.
fn both(
    g: &mut Graph,
    [a, b]: [(TensorId, TensorId); 2],
    part: &mut dyn FnMut(&mut Graph, TensorId, TensorId) -> Result<LossOutput>,
) -> Result<LossOutput> {
    g.scope("loss", |g| {
        let first = part(g, a.0, a.1)?;
        let second = part(g, b.0, b.1)?;
        let loss = g.add(first.loss, second.loss)?;
        Ok(LossOutput { loss, ..first })
    })
}

/// -1/2 cos(p1, z2) - 1/2 cos(p2, z1), mean over the batch; p, z [c,B,d'] predictor and projector outputs. The
/// targets z are constants: give them no gradient.
///
/// # Errors
/// Shapes that do not fit.
pub fn simsiam(
    g: &mut Graph,
    (p1, z1): (TensorId, TensorId),
    (p2, z2): (TensorId, TensorId),
) -> Result<LossOutput> {
    both(g, [(p1, z2), (p2, z1)], &mut |g, p, z| {
        let (p, z) = (g.l2_normalize(p)?, g.l2_normalize(z)?);
        let similarity = g.row_dot(p, z)?;
        let rows = g.dims(similarity)[1];
        Ok(LossOutput::of_pairs(
            g.scaled_sum(similarity, -0.5 / rows as f64)?,
            similarity,
            None,
            Pairs::All,
        ))
    })
}

/// BYOL's 2 - 2 cos(p1, z2) + 2 - 2 cos(p2, z1), mean over the batch: [`simsiam`] times 4, plus 4.
///
/// # Errors
/// Shapes that do not fit.
pub fn byol(
    g: &mut Graph,
    first: (TensorId, TensorId),
    second: (TensorId, TensorId),
) -> Result<LossOutput> {
    let out = simsiam(g, first, second)?;
    let scaled = g.scale(out.loss, 4.0)?;
    let four = g.constant([1], 4.0)?;
    let loss = g.add(scaled, four)?;
    Ok(LossOutput { loss, ..out })
}

/// Eq. (2.2) of p, z [c,B,d']: the targets z are constants also inside the temperature, though phi gets gradients
/// through them. Where nothing adapts, the negative cosines over the constant temperature, without Omega.
///
/// # Errors
/// Shapes that do not fit.
pub fn amcl_simsiam(
    g: &mut Graph,
    (p1, z1): (TensorId, TensorId),
    (p2, z2): (TensorId, TensorId),
    a: &Amcl,
    mut scorer: Scorer<'_>,
) -> Result<LossOutput> {
    if a.roles() == (false, false) {
        let built = simsiam(g, (p1, z1), (p2, z2))?;
        let loss = g.scale(built.loss, 1.0 / a.tau_const)?;
        return Ok(LossOutput { loss, ..built });
    }
    both(g, [(p1, z2), (p2, z1)], &mut |g, p, z| {
        let op = AmclPairLoss {
            weight: 0.5,
            beta: a.beta,
            eta: a.tau_min,
            iota: a.range(),
            d: g.dims(p)[2],
        };
        let (p, z) = (g.l2_normalize(p)?, g.l2_normalize(z)?);
        let similarity = g.row_dot(p, z)?;
        let (x, y) = (scored_heads(g, a, p)?, scored_heads(g, a, z)?);
        let score = scorer.pair_scores(g, a, x, y)?;
        let score = for_all_heads(g, score, p)?;
        let each = g.push1(op, &[similarity, score])?;
        let rows = g.dims(similarity)[1];
        Ok(LossOutput::of_pairs(
            g.scaled_sum(each, 1.0 / rows as f64)?,
            similarity,
            Some(score),
            Pairs::All,
        ))
    })
}
