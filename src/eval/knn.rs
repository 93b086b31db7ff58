//! k-nearest-neighbour accuracy (Wu et al., CVPR 2018, as lightly and MoCo's demo compute it): cosine similarity of
//! L2-normalised backbone features, the k nearest of the bank vote with weight exp(sim / t). Similarities, selection
//! and votes are computed by the executor, a tile of the bank at a time.

use crate::graph::exec::Ticket;
use crate::graph::{
    Executor, Graph, GraphError, HostData, ProgramId, Result, StepScalars, TensorId, TensorType,
};
use crate::ops::class_votes::ClassVotes;
use crate::ops::gemm::Gemm;
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::nearest::Nearest;
use crate::ops::squared_distance::SquaredDistance;
use crate::reference::class_votes::Weight;
use crate::reference::gemm::{Mat, product};
use crate::reference::l2_normalize::l2_normalize;
use rayon::prelude::*;
use std::collections::VecDeque;

/// Queries at once.
const QUERIES: usize = 128;

/// Elements of the bank at once: 32 MiB, so that evaluation takes little memory however large the bank.
const TILE: usize = 8 << 20;

/// Runs under way: while the device computes one, the host prepares the next.
const IN_FLIGHT: usize = 2;

/// What the scores of rows that fill up the last tile get: below every true one.
const NEVER: f32 = -1e30;

/// Cosine similarities [a,b] of the rows of x [a,d] and y [b,d], on the host: for metrics of a batch.
pub fn cosines(x: &[f32], y: &[f32], d: usize) -> Vec<f32> {
    let unit = |x: &[f32]| {
        let mut y = vec![0.0; x.len()];
        l2_normalize(d, 1e-12, x, &mut y);
        y
    };
    let (x, y) = (unit(x), unit(y));
    let (m, n) = (x.len() / d, y.len() / d);
    let mut out = vec![0.0f32; m * n];
    let a = Mat {
        data: &x,
        rs: d,
        cs: 1,
    };
    let b = Mat {
        data: &y,
        rs: 1,
        cs: d,
    };
    product(m, n, d, 1.0, a, b, &mut out, n, false);
    out
}

/// How near a neighbour is, and what its vote weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// Cosine similarity; a vote weighs exp(sim / t).
    Cosine,
    /// Euclidean distance of the features as they are; a vote weighs 1 / (distance + 1e-8), as solo-learn and
    /// scikit-learn (`weights="distance"`) have it. No temperature.
    Euclidean,
}

/// How neighbours vote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vote {
    /// Neighbours, clipped to the bank.
    pub k: usize,
    /// Temperature of cosine votes.
    pub t: f32,
    /// Which are near.
    pub distance: Distance,
}

impl Vote {
    /// The protocol in words, for a bank of `n`.
    pub fn describe(&self, n: usize) -> String {
        let k = self.k.min(n);
        match self.distance {
            Distance::Cosine => format!("k={k} (bank of {n}), t={}, cosine", self.t),
            Distance::Euclidean => {
                format!("k={k} (bank of {n}), euclidean, votes weigh 1/distance")
            }
        }
    }
}

/// A bank of labelled features.
#[derive(Clone, Copy, Debug)]
pub struct Bank<'a> {
    /// Features [n,d].
    pub features: &'a [f32],
    /// A class for each.
    pub labels: &'a [u32],
}

/// A classifier by nearest neighbours, compiled for banks and features of one size.
#[derive(Clone, Copy, Debug)]
pub struct Knn {
    near: ProgramId,
    query: TensorId,
    bank: TensorId,
    bias: TensorId,
    value: TensorId,
    column: TensorId,
    votes: ProgramId,
    values: TensorId,
    labels: TensorId,
    counts: TensorId,
    /// Rows of the bank at once.
    tile: usize,
    /// Neighbours taken of each tile.
    tile_k: usize,
    dim: usize,
    size: usize,
    classes: usize,
    vote: Vote,
}

/// A neighbour: its similarity or squared distance, and its class.
type Neighbour = (f32, u32);

/// [`Knn::ranked`] of `queries` [q,dim] by a classifier that is compiled for this one bank.
///
/// # Errors
/// As [`Knn::compile`] and [`Knn::ranked`].
pub fn ranked_once(
    exec: &mut dyn Executor,
    (queries, dim): (&[f32], usize),
    bank: Bank<'_>,
    classes: usize,
    vote: Vote,
) -> Result<Vec<u32>> {
    let knn = Knn::compile(exec, bank.labels.len(), dim, classes, vote)?;
    knn.ranked(exec, queries, bank)
}

impl Knn {
    /// For banks of `size` features of length `dim` in `classes` classes.
    ///
    /// # Errors
    /// An empty bank; memory, shaders.
    pub fn compile(
        exec: &mut dyn Executor,
        size: usize,
        dim: usize,
        classes: usize,
        vote: Vote,
    ) -> Result<Self> {
        let most = (TILE / dim.max(1)).max(1);
        let tile = size.div_ceil(size.div_ceil(most).max(1));
        Self::with_tile(exec, [size, dim], classes, vote, tile)
    }

    /// As [`Knn::compile`], with `tile` rows of the bank at once.
    fn with_tile(
        exec: &mut dyn Executor,
        [size, dim]: [usize; 2],
        classes: usize,
        vote: Vote,
        tile: usize,
    ) -> Result<Self> {
        let k = vote.k.min(size);
        let tile_k = k.min(tile);
        let cosine = vote.distance == Distance::Cosine;

        let mut g = Graph::new();
        let query = g.input("queries", TensorType::f32([QUERIES, dim]));
        let bank = g.input("bank", TensorType::f32([tile, dim]));
        let bias = g.input("bias", TensorType::f32([tile]));
        let (mut q, mut b) = (query, bank);
        if cosine {
            let unit = L2Normalize { eps: 1e-12 };
            (q, b) = (g.push1(unit, &[query])?, g.push1(unit, &[bank])?);
        }
        let products = Gemm {
            trans_b: true,
            bias: true,
            ..Gemm::default()
        };
        let score = g.push1(products, &[q, b, bias])?;
        let found = g.push(Nearest { k: tile_k }, &[score])?;
        let (mut value, column) = (found[0], found[1]);
        if !cosine {
            value = g.push1(SquaredDistance, &[q, b, column])?;
        }
        let near = exec.compile(&g, &[value, column])?;

        let mut g = Graph::new();
        let values = g.input("neighbours", TensorType::f32([QUERIES, k]));
        let labels = g.input("labels", TensorType::u32([QUERIES, k]));
        let weight = match vote.distance {
            Distance::Cosine => Weight::Similarity { t: vote.t },
            Distance::Euclidean => Weight::SquaredDistance,
        };
        let counts = g.push1(ClassVotes { classes, weight }, &[values, labels])?;
        let votes = exec.compile(&g, &[counts])?;
        Ok(Self {
            near,
            query,
            bank,
            bias,
            value,
            column,
            votes,
            values,
            labels,
            counts,
            tile,
            tile_k,
            dim,
            size,
            classes,
            vote,
        })
    }

    /// The programs.
    pub fn programs(&self) -> [ProgramId; 2] {
        [self.near, self.votes]
    }

    /// Classes of `queries` [q,d], the likeliest first: [q,classes]. Ties go to the lower class.
    ///
    /// # Errors
    /// Another bank than it was compiled for; device loss.
    pub fn ranked(
        &self,
        exec: &mut dyn Executor,
        queries: &[f32],
        bank: Bank<'_>,
    ) -> Result<Vec<u32>> {
        Ok(self.order(&self.votes(exec, queries, bank)?))
    }

    /// Classes by their votes [q,classes], the most voted first.
    pub fn order(&self, votes: &[f32]) -> Vec<u32> {
        let each = votes.chunks(self.classes).flat_map(|votes| {
            let mut best: Vec<u32> = (0..self.classes as u32).collect();
            best.sort_by(|a, b| {
                votes[*b as usize]
                    .total_cmp(&votes[*a as usize])
                    .then(a.cmp(b))
            });
            best
        });
        each.collect()
    }

    /// The neighbours' votes for each class [q,classes], of `queries` [q,d].
    ///
    /// # Errors
    /// Another bank than it was compiled for; device loss.
    pub fn votes(
        &self,
        exec: &mut dyn Executor,
        queries: &[f32],
        bank: Bank<'_>,
    ) -> Result<Vec<f32>> {
        if bank.labels.len() != self.size || bank.features.len() != self.size * self.dim {
            return Err(GraphError::Invalid(format!(
                "kNN was set up for a bank of {} features of length {}, not for {} labels and {} values",
                self.size,
                self.dim,
                bank.labels.len(),
                bank.features.len()
            )));
        }
        let mut near = vec![Vec::new(); queries.len() / self.dim];
        for start in (0..self.size).step_by(self.tile) {
            let end = (start + self.tile).min(self.size);
            let tile = Bank {
                features: &bank.features[start * self.dim..end * self.dim],
                labels: &bank.labels[start..end],
            };
            self.search(exec, queries, tile, &mut near)?;
        }
        self.count(exec, near)
    }

    /// Adds each query's nearest of one tile of the bank.
    fn search(
        &self,
        exec: &mut dyn Executor,
        queries: &[f32],
        bank: Bank<'_>,
        near: &mut [Vec<Neighbour>],
    ) -> Result<()> {
        let d = self.dim;
        let mut features = bank.features.to_vec();
        features.resize(self.tile * d, 0.0);
        // Nearest is where the product less half the squared length is largest.
        let half = |b: &[f32]| match self.vote.distance {
            Distance::Cosine => 0.0,
            Distance::Euclidean => -0.5 * b.iter().map(|v| v * v).sum::<f32>(),
        };
        let mut bias: Vec<f32> = bank.features.par_chunks(d).map(half).collect();
        bias.resize(self.tile, NEVER);
        exec.upload(self.near, self.bank, &HostData::F32(features))?;
        exec.upload(self.near, self.bias, &HostData::F32(bias))?;
        let fetched = [self.value, self.column];
        let mut waiting = near.chunks_mut(QUERIES).zip(queries.chunks(QUERIES * d));
        let mut pending: VecDeque<(Ticket, &mut [Vec<Neighbour>])> = VecDeque::new();
        loop {
            let next = match pending.len() < IN_FLIGHT {
                true => waiting.next(),
                false => None,
            };
            if let Some((rows, q)) = next {
                let mut q = q.to_vec();
                q.resize(QUERIES * d, 0.0);
                exec.upload(self.near, self.query, &HostData::F32(q))?;
                exec.run(self.near, &StepScalars::default())?;
                pending.push_back((exec.fetch_later(self.near, &fetched)?, rows));
            } else if let Some((ticket, rows)) = pending.pop_front() {
                let got = exec.collect(&ticket, true)?.unwrap_or_default();
                if let [value, column] = &got[..] {
                    let (value, column) = (value.to_f32(), column.as_u32().unwrap_or_default());
                    self.gather(&value, column, bank.labels, rows);
                }
            } else {
                return Ok(());
            }
        }
    }

    /// Puts a run's neighbours to those of earlier tiles and keeps the k nearest, earlier ones first among equals.
    fn gather(&self, value: &[f32], column: &[u32], labels: &[u32], rows: &mut [Vec<Neighbour>]) {
        let k = self.vote.k.min(self.size);
        let nearer = |a: &Neighbour, b: &Neighbour| match self.vote.distance {
            Distance::Cosine => b.0.total_cmp(&a.0),
            Distance::Euclidean => a.0.total_cmp(&b.0),
        };
        let found = value.chunks(self.tile_k).zip(column.chunks(self.tile_k));
        rows.par_iter_mut()
            .zip(found.collect::<Vec<_>>())
            .for_each(|(row, (value, column))| {
                let known = value.iter().zip(column).filter_map(|(v, c)| {
                    // Not what fills up the last tile.
                    labels.get(*c as usize).map(|label| (*v, *label))
                });
                row.extend(known);
                if row.len() > k {
                    row.sort_by(nearer);
                    row.truncate(k);
                }
            });
    }

    /// The neighbours' votes, counted.
    fn count(&self, exec: &mut dyn Executor, near: Vec<Vec<Neighbour>>) -> Result<Vec<f32>> {
        let k = self.vote.k.min(self.size);
        let mut out = Vec::with_capacity(near.len() * self.classes);
        for rows in near.chunks(QUERIES) {
            let flat = || rows.iter().flatten();
            let mut values: Vec<f32> = flat().map(|n| n.0).collect();
            let mut labels: Vec<u32> = flat().map(|n| n.1).collect();
            values.resize(QUERIES * k, 0.0);
            labels.resize(QUERIES * k, u32::MAX);
            exec.upload(self.votes, self.values, &HostData::F32(values))?;
            exec.upload(self.votes, self.labels, &HostData::U32(labels))?;
            exec.run(self.votes, &StepScalars::default())?;
            let votes = exec.fetch(self.votes, self.counts)?.to_f32();
            out.extend_from_slice(&votes[..rows.len() * self.classes]);
        }
        Ok(out)
    }
}

/// Share of rows of `ranked` [q,classes] whose label is among the first `top`, in percent.
pub fn top(ranked: &[u32], labels: &[u32], top: usize) -> f64 {
    let classes = ranked.len() / labels.len().max(1);
    let rows = ranked.chunks(classes.max(1)).zip(labels);
    let hits = rows.filter(|(row, label)| row.iter().take(top).any(|c| c == *label));
    100.0 * hits.count() as f64 / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::host::HostExecutor;
    use crate::reference::philox::{Purpose, Stream};

    fn vote(k: usize, distance: Distance) -> Vote {
        Vote {
            k,
            t: 0.1,
            distance,
        }
    }

    fn predicted(k: usize, queries: &[f32], bank: Bank<'_>) -> Vec<u32> {
        let exec = &mut HostExecutor::<f32>::new();
        let vote = vote(k, Distance::Cosine);
        let knn = Knn::compile(exec, bank.labels.len(), 2, 2, vote).unwrap();
        let ranked = knn.ranked(exec, queries, bank).unwrap();
        ranked.chunks(2).map(|c| c[0]).collect()
    }

    #[test]
    fn near_neighbours_outvote_many_far_ones() {
        let bank = Bank {
            features: &[1.0, 0.0, 0.0, 1.0, 0.1, 1.0, -0.1, 1.0],
            labels: &[0, 1, 1, 1],
        };
        assert_eq!(predicted(200, &[0.9, 0.1, 0.0, 5.0], bank), [0, 1]);
        assert_eq!(top(&[0, 1, 1, 0], &[0, 0], 1), 50.0);
    }

    /// A bank of three tiles, of which the last is not full, against one tile of all: the same neighbours.
    #[test]
    fn tiles_make_no_difference() {
        let (size, d, classes) = (500, 4, 5);
        let mut stream = Stream::new(3, 0, 0, Purpose::Init);
        let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| stream.range(-1.0, 1.0)).collect() };
        let (features, queries) = (draw(size * d), draw(150 * d));
        let labels: Vec<u32> = (0..size as u32).map(|i| i * 7 % classes).collect();
        let bank = Bank {
            features: &features,
            labels: &labels,
        };
        for distance in [Distance::Cosine, Distance::Euclidean] {
            // 300: more than a tile holds.
            for k in [1, 20, 300] {
                let ranked = |tile| {
                    let exec = &mut HostExecutor::<f32>::new();
                    let (shape, vote) = ([size, d], vote(k, distance));
                    let knn = Knn::with_tile(exec, shape, classes as usize, vote, tile).unwrap();
                    knn.ranked(exec, &queries, bank).unwrap()
                };
                assert_eq!(ranked(200), ranked(size), "k {k}, {distance:?}");
                assert_ne!(ranked(size)[..5], ranked(size)[5..10]);
            }
        }
    }
}
