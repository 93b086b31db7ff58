//! Redundancy reduction: Barlow Twins (Eq. 1.3) and AMCL's Eq. (2.3).

use super::{Amcl, Built, Pairs, Scorer, by_rows, for_all_heads, scored_heads, total};
use crate::graph::{Graph, Result, TensorId};
use crate::ops::barlow_loss::BarlowLoss;
use crate::ops::gemm::Gemm;
use crate::ops::scale::Scale;
use crate::ops::standardize_columns::StandardizeColumns;

/// sum_l (1 - C_ll/tau_0)^2 + lambda sum_{m != l} C_lm^2/tau_1 of z1, z2 [c,B,d'], C their cross-correlation (unbiased deviations, divided by B); tau the `constant` temperatures on and off the diagonal, 1 in
/// Eq. (1.3).
///
/// # Errors
/// Shapes that do not fit.
pub fn barlow_twins(
    g: &mut Graph,
    z1: TensorId,
    z2: TensorId,
    lambda: f64,
    constant: [f64; 2],
) -> Result<Built> {
    g.scope("loss", |g| {
        let op = BarlowLoss {
            adaptive_on: false,
            adaptive_off: false,
            constant,
            lambda,
            beta: 0.0,
            eta: 1.0,
            iota: 0.0,
        };
        let k = cross_correlation(g, z1, z2)?;
        let each = g.push1(op, &[k])?;
        Ok(Built {
            loss: total(g, each, 1.0)?,
            similarity: k,
            score: None,
            pairs: Pairs::Diagonal,
            features: Vec::new(),
            embedding: None,
            keys: Vec::new(),
        })
    })
}

/// Eq. (2.3) of z1, z2 [c,B,d']: temperatures of channel pairs (l, m) from phi of the raw channel vectors z1[:,l] and z2[:,m], of length B, so the batch size is
/// fixed. Omega takes d'. A role that does not adapt has its `constant` temperature. `scorer.phi` maps [c,B,d'], whose columns are the vectors, to [c,d',B].
///
/// # Errors
/// Shapes that do not fit.
pub fn amcl_barlow_twins(
    g: &mut Graph,
    z1: TensorId,
    z2: TensorId,
    lambda: f64,
    constant: [f64; 2],
    a: &Amcl,
    mut scorer: Scorer<'_>,
) -> Result<Built> {
    g.scope("loss", |g| {
        let op = BarlowLoss {
            adaptive_on: a.roles().0,
            adaptive_off: a.roles().1,
            constant,
            lambda,
            beta: a.beta,
            eta: a.tau_min,
            iota: a.range(),
        };
        let k = cross_correlation(g, z1, z2)?;
        let (x1, x2) = (scored_heads(g, a, z1)?, scored_heads(g, a, z2)?);
        let p1 = scorer.features(g, a, x1)?;
        let p2 = scorer.features(g, a, x2)?;
        let r = g.push1(by_rows(), &[p1, p2])?;
        let r = scorer.scores(g, a, r, false)?;
        let r = for_all_heads(g, r, z1)?;
        let each = g.push1(op, &[k, r])?;
        Ok(Built {
            loss: total(g, each, 1.0)?,
            similarity: k,
            score: Some(r),
            pairs: Pairs::Diagonal,
            features: Vec::new(),
            embedding: None,
            keys: Vec::new(),
        })
    })
}

/// [c,d',d'] of z1, z2 [c,B,d'].
fn cross_correlation(g: &mut Graph, z1: TensorId, z2: TensorId) -> Result<TensorId> {
    let a = g.push(StandardizeColumns, &[z1])?[0];
    let b = g.push(StandardizeColumns, &[z2])?[0];
    let product = Gemm {
        trans_a: true,
        ..Gemm::default()
    };
    let k = g.push1(product, &[a, b])?;
    let rows = g.dims(z1)[1];
    let factor = 1.0 / rows as f64;
    g.push1(Scale { factor }, &[k])
}
