//! Scores of pairs, of which temperatures are made: products of phi's features, as they are or centred.

use super::{Adaptive, Amcl, Parametrisation};
use crate::comm::World;
use crate::graph::{Graph, Result, TensorId};
use crate::ops::all_gather_rows::AllGatherRows;
use crate::ops::centre_scores::CentreScores;
use crate::ops::concat_tokens::ConcatTokens;
use crate::ops::first_rows::FirstRows;
use crate::ops::global_avg_pool::GlobalAvgPool;
use crate::ops::row_scale::RowScale;
use crate::ops::slice_tokens::SliceTokens;

/// What makes the scores: the temperature MLP, appended to features [c,rows,d'], and the gain [1] of the centred
/// parametrisation.
pub struct Scorer<'a> {
    /// Appends phi.
    pub phi: &'a mut dyn FnMut(&mut Graph, TensorId) -> Result<TensorId>,
    /// The learned gain.
    pub gain: Option<TensorId>,
}

impl Scorer<'_> {
    /// phi of features, of unit length where the parametrisation takes cosines.
    pub(super) fn features(&mut self, g: &mut Graph, a: &Amcl, z: TensorId) -> Result<TensorId> {
        let p = (self.phi)(g, z)?;
        match a.parametrisation {
            Parametrisation::Dot => Ok(p),
            Parametrisation::Centred => g.l2_normalize(p),
        }
    }

    /// Products [c,a,n] to scores: as they are, or centred (`square`: the diagonal is no pair).
    pub(super) fn scores(
        &self,
        g: &mut Graph,
        a: &Amcl,
        products: TensorId,
        square: bool,
    ) -> Result<TensorId> {
        let (Parametrisation::Centred, Some(gain)) = (a.parametrisation, self.gain) else {
            return Ok(products);
        };
        let offset = a.score_at_mean();
        Ok(g.push(CentreScores { square, offset }, &[products, gain])?[0])
    }

    /// How products of unit features p [c,n,d] and q [c,m,d] are centred, if they are, without making them.
    ///
    /// A product is linear in either feature, so that the mean over all pairs is the product of the mean features, and
    /// no pass over pairs is needed; of a square the rows' products with themselves are taken away again. Where ranks
    /// have rows each, the mean feature is that of theirs, a row a rank.
    pub(super) fn centre(
        &self,
        g: &mut Graph,
        a: &Amcl,
        [p, q]: [TensorId; 2],
        of: Products<'_>,
    ) -> Result<Option<Centre>> {
        let (Parametrisation::Centred, Some(gain)) = (a.parametrisation, self.gain) else {
            return Ok(None);
        };
        let mean_p = mean_row(g, p)?;
        let mean = match of {
            Products::Full => {
                let mean_q = mean_row(g, q)?;
                g.row_dot(mean_p, mean_q)?
            }
            Products::Square(world) => {
                let (c, n) = (g.dims(p)[0], g.dims(p)[1]);
                let lengths = g.row_dot(p, p)?;
                let lengths = g.reshape(lengths, [c, n, 1])?;
                let own = mean_row(g, lengths)?;
                let [mean_p, own] = match world {
                    Some(world) => of_ranks(g, [mean_p, own], world)?,
                    None => [mean_p, own],
                };
                let own = g.reshape(own, [c])?;
                let all = g.row_dot(mean_p, mean_p)?;
                let n = n * world.map_or(1, World::ranks);
                let others = (n - 1) as f64;
                let all = g.scale(all, n as f64 / others)?;
                let own = g.scale(own, 1.0 / others)?;
                g.sub(all, own)?
            }
        };
        Ok(Some(Centre {
            gain,
            mean,
            offset: a.score_at_mean(),
        }))
    }

    /// Scores [c,b] of pairs of rows.
    pub(super) fn pair_scores(
        &mut self,
        g: &mut Graph,
        a: &Amcl,
        x: TensorId,
        y: TensorId,
    ) -> Result<TensorId> {
        let (px, py) = (self.features(g, a, x)?, self.features(g, a, y)?);
        let r = g.row_dot(px, py)?;
        if a.parametrisation == Parametrisation::Dot {
            return Ok(r);
        }
        let (c, b) = (g.dims(r)[0], g.dims(r)[1]);
        let wide = g.reshape(r, [c, b, 1])?;
        let centred = self.scores(g, a, wide, false)?;
        g.reshape(centred, [c, b])
    }
}

/// Which products of rows have a mean.
#[derive(Clone, Copy, Debug)]
pub(super) enum Products<'a> {
    /// Of each row with each of the other operand.
    Full,
    /// Of the rows among themselves, where a row with itself is no pair: all rows, or those of a rank among as many of
    /// each of the others.
    Square(Option<&'a World>),
}

/// How the scores of the centred parametrisation come of products x of unit features: r = gain (x - mean) + offset.
#[derive(Clone, Copy, Debug)]
pub struct Centre {
    /// The gain [1].
    pub gain: TensorId,
    /// Mean product over a head's pairs [c].
    pub mean: TensorId,
    /// The score at the mean.
    pub offset: f64,
}

/// Columns that [`Centre::joined`] adds: four, so that a width that kernels read four numbers at a time stays one.
const ADDED: usize = 4;

impl Centre {
    /// Features of p [c,n,d] and q [c,m,d] whose products are their scores: p times the gain, and columns more whose
    /// products add up to offset - gain mean.
    pub(super) fn joined(self, g: &mut Graph, [p, q]: [TensorId; 2]) -> Result<[TensorId; 2]> {
        let (c, n) = (g.dims(p)[0], g.dims(p)[1]);
        let gains = g.repeat(self.gain, c * n)?;
        let gains = g.reshape(gains, [c, n])?;
        let scaled = g.push1(RowScale, &[p, gains])?;
        let gains = g.repeat(self.gain, c)?;
        let gains = g.reshape(gains, [c])?;
        let at_mean = g.mul(gains, self.mean)?;
        // (A constant is an f32, a factor is not.)
        let ones = g.constant([c], 1.0)?;
        let offset = g.scale(ones, self.offset)?;
        let shift = g.sub(offset, at_mean)?;
        let shift = g.scale(shift, 1.0 / ADDED as f64)?;
        let shift = g.reshape(shift, [c, 1])?;
        let row = g.constant([1, n * ADDED], 1.0)?;
        let of_p = g.matmul(shift, row)?;
        let of_q = {
            let m = g.dims(q)[1];
            g.constant([c * m * ADDED], 1.0)?
        };
        Ok([with_columns(g, of_p, scaled)?, with_columns(g, of_q, q)?])
    }
}

/// x [c,n,d] with [`ADDED`] columns [c*n*ADDED] in front.
fn with_columns(g: &mut Graph, columns: TensorId, x: TensorId) -> Result<TensorId> {
    let &[c, n, d] = g.dims(x) else {
        return Ok(x);
    };
    let columns = g.reshape(columns, [c * n, ADDED, 1])?;
    let rows = g.reshape(x, [c * n, d, 1])?;
    let joined = g.push1(ConcatTokens, &[columns, rows])?;
    g.reshape(joined, [c, n, d + ADDED])
}

/// x [c,n,d] -> [c,d], the mean over n.
fn mean_row(g: &mut Graph, x: TensorId) -> Result<TensorId> {
    let &[c, n, d] = g.dims(x) else {
        return Ok(x);
    };
    let x = g.reshape(x, [c, n, 1, d])?;
    g.push1(GlobalAvgPool, &[x])
}

/// The means over the ranks of x [c,d] and y [c,1], which are exchanged as one.
fn of_ranks(g: &mut Graph, [x, y]: [TensorId; 2], world: &World) -> Result<[TensorId; 2]> {
    let &[c, d] = g.dims(x) else {
        return Ok([x, y]);
    };
    let (ranks, n) = (world.ranks(), c * (d + 1));
    let world = world.clone();
    let (x, y) = (g.reshape(x, [c, d, 1])?, g.reshape(y, [c, 1, 1])?);
    let both = g.push1(ConcatTokens, &[y, x])?;
    let row = g.reshape(both, [1, n])?;
    let rows = g.push1(AllGatherRows { world }, &[row])?;
    let rows = g.reshape(rows, [1, ranks, n])?;
    let mean = mean_row(g, rows)?;
    let both = g.reshape(mean, [c, d + 1, 1])?;
    let part = |first, count| SliceTokens { first, count };
    let (x, y) = (g.push1(part(1, d), &[both])?, g.push1(part(0, 1), &[both])?);
    Ok([g.reshape(x, [c, d])?, g.reshape(y, [c, 1])?])
}

/// The heads whose features make the scores: all, or the first.
pub(super) fn scored_heads(g: &mut Graph, a: &Amcl, z: TensorId) -> Result<TensorId> {
    if a.adaptive == Adaptive::FirstHead && g.dims(z)[0] > 1 {
        return g.push1(FirstRows { rows: 1 }, &[z]);
    }
    Ok(z)
}

/// Scores [1,..] of the first head for as many heads as `z` [c,..] has; scores of all heads as they are.
pub(super) fn for_all_heads(g: &mut Graph, r: TensorId, z: TensorId) -> Result<TensorId> {
    let heads = g.dims(z)[0];
    let mut shape = g.dims(r).to_vec();
    if shape[0] == heads {
        return Ok(r);
    }
    shape[0] = heads;
    let copies = g.repeat(r, heads)?;
    g.reshape(copies, shape.as_slice())
}
