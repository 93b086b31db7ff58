//! MoCo v3's loss (Chen et al., ICCV 2021), plain and by AMCL's Eq. (2.4): the queries of a view against all keys of
//! the other view in the batch, in both directions. A query's own view is not among its candidates.

use super::contrastive::{of_rows, plain_loss};
use super::{Amcl, LossOutput, Plain, Scorer};
use crate::graph::{Graph, Result, TensorId};
use crate::reference::top_k::Layout;

/// 2 tau [CE(q1 k2^T / tau) + CE(q2 k1^T / tau)] of queries q and keys k [1,B,d'] of the two views, cosines, targets on
/// the diagonal. The factor takes `t.tau`, also where a schedule moves the temperature during the run.
///
/// # Errors
/// Shapes that do not fit.
pub fn mocov3(g: &mut Graph, q: [TensorId; 2], k: [TensorId; 2], t: &Plain) -> Result<LossOutput> {
    both(g, (q, k), 2.0 * t.tau, |g, x| {
        let s = queries_by_keys(g, x)?;
        plain_loss(g, t, true, Layout::Diagonal, s)
    })
}

/// scale [l(q1, k2) + l(q2, k1)] of queries q and keys k [c,B,d'] of the two views, l the AMCL loss of each query
/// against the keys (Eq. 2.4 with `include_positive`), a sum over heads. phi gets gradients through the keys too.
///
/// # Errors
/// Shapes that do not fit.
pub fn amcl_mocov3(
    g: &mut Graph,
    q: [TensorId; 2],
    k: [TensorId; 2],
    a: &Amcl,
    scale: f64,
    mut scorer: Scorer<'_>,
) -> Result<LossOutput> {
    both(g, (q, k), scale, |g, x| {
        of_rows(g, a, Layout::Diagonal, x, &mut scorer, queries_by_keys)
    })
}

/// `scale` times the sum of the losses of both directions, of rows at unit length. The pairs are those of the first.
fn both(
    g: &mut Graph,
    (q, k): ([TensorId; 2], [TensorId; 2]),
    scale: f64,
    mut direction: impl FnMut(&mut Graph, [TensorId; 2]) -> Result<LossOutput>,
) -> Result<LossOutput> {
    g.scope("loss", |g| {
        let mut parts = Vec::new();
        for (q, k) in [(q[0], k[1]), (q[1], k[0])] {
            let x = [g.l2_normalize(q)?, g.l2_normalize(k)?];
            parts.push(direction(g, x)?);
        }
        let sum = g.add(parts[0].loss, parts[1].loss)?;
        let loss = g.scale(sum, scale)?;
        Ok(LossOutput {
            loss,
            ..parts.swap_remove(0)
        })
    })
}

/// Similarities [c,B,B] of queries and keys.
fn queries_by_keys(g: &mut Graph, [q, k]: [TensorId; 2]) -> Result<TensorId> {
    g.matmul_nt(q, k)
}
