//! k-nearest-neighbour accuracy (Wu et al., CVPR 2018, as lightly and MoCo's demo compute it): cosine similarity of L2-normalised backbone
//! features, the k nearest of the bank vote with weight exp(sim / t).

use crate::reference::gemm::{Mat, product};
use crate::reference::l2_normalize::l2_normalize;
use rayon::prelude::*;

/// Rows of unit length.
fn unit(x: &[f32], d: usize) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    l2_normalize(d, 1e-12, x, &mut y);
    y
}

/// Products [a,b] of the rows of x [a,d] and y [b,d].
fn products(x: &[f32], y: &[f32], d: usize) -> Vec<f32> {
    let (m, n) = (x.len() / d, y.len() / d);
    let mut out = vec![0.0f32; m * n];
    let a = Mat {
        data: x,
        rs: d,
        cs: 1,
    };
    let b = Mat {
        data: y,
        rs: 1,
        cs: d,
    };
    product(m, n, d, 1.0, a, b, &mut out, n, false);
    out
}

/// Cosine similarities [a,b] of the rows of x [a,d] and y [b,d].
pub fn cosines(x: &[f32], y: &[f32], d: usize) -> Vec<f32> {
    products(&unit(x, d), &unit(y, d), d)
}

/// How near a neighbour is, and what its vote weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// Cosine similarity; a vote weighs exp(sim / t).
    Cosine,
    /// Euclidean distance of the features as they are; a vote weighs 1 / (distance + 1e-8), as solo-learn and scikit-learn (`weights="distance"`) have it. No temperature.
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

/// Classes of `queries` [q,d] from `bank` [n,d] with `labels`, the likeliest first: [q,classes]. Ties go to the lower class.
pub fn ranked(
    queries: &[f32],
    bank: &[f32],
    labels: &[u32],
    d: usize,
    classes: usize,
    vote: &Vote,
) -> Vec<u32> {
    let n = labels.len();
    let k = vote.k.min(n);
    let cosine = vote.distance == Distance::Cosine;
    let prepared = |x: &[f32]| if cosine { unit(x, d) } else { x.to_vec() };
    let (queries, bank) = (prepared(queries), prepared(bank));
    let square = |x: &[f32]| -> f32 { x.iter().map(|v| v * v).sum() };
    // Half the squared length: nearest is where product less this is largest.
    let half: Vec<f32> = match vote.distance {
        Distance::Cosine => vec![0.0; n],
        Distance::Euclidean => bank.par_chunks(d).map(|b| 0.5 * square(b)).collect(),
    };
    queries
        .par_chunks(64 * d)
        .flat_map_iter(|q| {
            let mut near = products(q, &bank, d);
            let mut out = Vec::with_capacity(q.len() / d * classes);
            let mut order: Vec<u32> = Vec::with_capacity(n);
            for (q, s) in q.chunks(d).zip(near.chunks_mut(n)) {
                s.iter_mut().zip(&half).for_each(|(s, h)| *s -= h);
                order.clear();
                order.extend(0..n as u32);
                let by =
                    |a: &u32, b: &u32| s[*b as usize].total_cmp(&s[*a as usize]).then(a.cmp(b));
                if k < n {
                    order.select_nth_unstable_by(k - 1, by);
                }
                let mut votes = vec![0.0f64; classes];
                for j in &order[..k] {
                    let j = *j as usize;
                    votes[labels[j] as usize] += match vote.distance {
                        Distance::Cosine => f64::from(s[j] / vote.t).exp(),
                        Distance::Euclidean => {
                            let pairs = q.iter().zip(&bank[j * d..]);
                            let d2: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
                            1.0 / (d2.sqrt() + 1e-8)
                        }
                    };
                }
                let mut best: Vec<u32> = (0..classes as u32).collect();
                best.sort_by(|a, b| {
                    let by_votes = votes[*b as usize].total_cmp(&votes[*a as usize]);
                    by_votes.then(a.cmp(b))
                });
                out.extend(best);
            }
            out
        })
        .collect()
}

/// The likeliest classes alone, by cosine similarity.
#[allow(
    clippy::too_many_arguments,
    reason = "the protocol has this many facts"
)]
pub fn predict(
    queries: &[f32],
    bank: &[f32],
    labels: &[u32],
    d: usize,
    classes: usize,
    k: usize,
    t: f32,
) -> Vec<u32> {
    let distance = Distance::Cosine;
    let all = ranked(queries, bank, labels, d, classes, &Vote { k, t, distance });
    all.chunks(classes).map(|c| c[0]).collect()
}

/// Share of rows of `ranked` [q,classes] whose label is among the first `top`, in percent.
pub fn top(ranked: &[u32], labels: &[u32], top: usize) -> f64 {
    let classes = ranked.len() / labels.len().max(1);
    let rows = ranked.chunks(classes.max(1)).zip(labels);
    let hits = rows.filter(|(row, label)| row.iter().take(top).any(|c| c == *label));
    100.0 * hits.count() as f64 / labels.len().max(1) as f64
}

/// Share of `predicted` that equals `labels`, in percent.
pub fn accuracy(predicted: &[u32], labels: &[u32]) -> f64 {
    let hits = predicted.iter().zip(labels).filter(|(a, b)| a == b).count();
    100.0 * hits as f64 / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_neighbours_outvote_many_far_ones() {
        let bank = [1.0, 0.0, 0.0, 1.0, 0.1, 1.0, -0.1, 1.0];
        let p = predict(&[0.9, 0.1, 0.0, 5.0], &bank, &[0, 1, 1, 1], 2, 2, 200, 0.1);
        assert_eq!(p, [0, 1]);
        assert_eq!(accuracy(&p, &[0, 0]), 50.0);
    }
}
