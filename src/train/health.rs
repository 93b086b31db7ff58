//! Signs of collapse that a finite loss hides: quantiles of similarities and temperatures, and the alarms made of them.

use crate::methods::loss::{Amcl, Pairs};
use serde::Serialize;

/// 5, 50 and 95 % quantiles.
pub type Quantiles = [f32; 3];

/// Statistics of one batch.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Health {
    /// Similarities of positive pairs.
    pub sim_pos: Quantiles,
    /// Similarities of negative pairs.
    pub sim_neg: Quantiles,
    /// Temperatures of positive pairs per head; empty when constant.
    pub tau_pos: Vec<Quantiles>,
    /// Temperatures of negative pairs per head.
    pub tau_neg: Vec<Quantiles>,
    /// Share of all pairs, per head, whose temperature lies within 1 % of its floor.
    pub tau_at_floor: Vec<f32>,
}

fn quantiles(mut v: Vec<f32>) -> Quantiles {
    v.sort_by(f32::total_cmp);
    [0.05, 0.5, 0.95].map(|q| {
        v.get(((v.len().max(1) - 1) as f64 * q).round() as usize)
            .copied()
            .unwrap_or(f32::NAN)
    })
}

/// Similarities or scores of a batch: [heads, rows, columns].
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Values.
    pub values: &'a [f32],
    /// Rows of a head.
    pub rows: usize,
    /// Columns of a head.
    pub columns: usize,
    /// Which are positive.
    pub pairs: Pairs,
}

impl Batch<'_> {
    /// Positive and negative pairs of each head.
    fn split(&self) -> Vec<(Vec<f32>, Vec<f32>)> {
        let (n, columns) = (self.rows, self.columns);
        self.values
            .chunks(n * columns)
            .map(|m| {
                let (mut pos, mut neg) = (Vec::with_capacity(n), Vec::with_capacity(m.len()));
                for (at, v) in m.iter().enumerate() {
                    let (i, j) = (at / columns, at % columns);
                    let positive = match self.pairs {
                        Pairs::Views if i == j => continue,
                        Pairs::Views => j == (i + n / 2) % n,
                        Pairs::FirstColumn => j == 0,
                        Pairs::All => true,
                        Pairs::Diagonal => i == j,
                    };
                    if positive { pos.push(*v) } else { neg.push(*v) }
                }
                (pos, neg)
            })
            .collect()
    }

    /// Positive and negative pairs of all heads together; `negatives` as in [`Batch::histograms`].
    pub fn pooled(&self, negatives: Option<&[Vec<f32>]>) -> (Vec<f32>, Vec<f32>) {
        let (pos, neg): (Vec<_>, Vec<_>) = self.split().into_iter().unzip();
        (
            pos.concat(),
            negatives.map_or_else(|| neg.concat(), <[_]>::concat),
        )
    }

    /// Histograms of each head's positive and negative pairs; `negatives` are similarities of different images where the batch has no negative pairs.
    pub fn histograms(&self, negatives: Option<&[Vec<f32>]>) -> Vec<Histograms> {
        let shares = |v: &[f32]| {
            let mut bins = vec![0.0; BINS];
            for x in v.iter().filter(|x| x.is_finite()) {
                let at = ((x - RANGE[0]) / (RANGE[1] - RANGE[0]) * BINS as f32) as usize;
                bins[at.min(BINS - 1)] += 1.0 / v.len() as f32;
            }
            if v.is_empty() { Vec::new() } else { bins }
        };
        self.split()
            .iter()
            .enumerate()
            .map(|(head, (pos, neg))| Histograms {
                pos: shares(pos),
                neg: shares(negatives.and_then(|s| s.get(head)).unwrap_or(neg)),
            })
            .collect()
    }
}

/// Range of the similarity histograms, and their number of bins (of 0.04).
pub const RANGE: [f32; 2] = [-1.0, 1.0];
const BINS: usize = 50;

/// Shares of pairs by similarity; empty where there are no such pairs.
#[derive(Clone, Debug, Serialize)]
pub struct Histograms {
    /// Of positive pairs.
    pub pos: Vec<f32>,
    /// Of negative pairs.
    pub neg: Vec<f32>,
}

/// An alarm when the backbone's features have collapsed; `std` as [`crate::eval::spread::Spread::feature_std`] has it (1: spread over the sphere).
pub fn feature_alarm(std: f64) -> Option<String> {
    (std < 0.1).then(|| {
        format!("collapse: the deviation of the normalised backbone features is {std:.3} of what spread features have")
    })
}

impl Health {
    /// Of a loss that compares no pairs.
    pub fn without_pairs() -> Self {
        Self {
            sim_pos: [f32::NAN; 3],
            sim_neg: [f32::NAN; 3],
            ..Self::default()
        }
    }

    /// From similarities, those of different images where the batch has no negative pairs, and, when temperatures adapt, scores.
    pub fn of(
        similarity: Batch<'_>,
        negatives: Option<&[Vec<f32>]>,
        score: Option<&[f32]>,
        a: &Amcl,
    ) -> Self {
        let (pos, neg) = similarity.pooled(negatives);
        let mut out = Self {
            sim_pos: quantiles(pos),
            sim_neg: quantiles(neg),
            ..Self::default()
        };
        for (pos, neg) in score
            .map(|values| {
                Batch {
                    values,
                    ..similarity
                }
                .split()
            })
            .unwrap_or_default()
        {
            let tau = |v: Vec<f32>| -> Vec<f32> {
                let of = |r: f32| a.tau_min + a.range() / (1.0 + f64::from(r.min(80.0)).exp());
                v.into_iter().map(|r| of(r) as f32).collect()
            };
            let (pos, neg) = (tau(pos), tau(neg));
            let near = |t: &&f32| f64::from(**t) < 1.01 * a.tau_min;
            let at_floor = pos.iter().chain(&neg).filter(near).count();
            out.tau_at_floor
                .push(at_floor as f32 / (pos.len() + neg.len()).max(1) as f32);
            out.tau_pos.push(quantiles(pos));
            out.tau_neg.push(quantiles(neg));
        }
        out
    }

    /// Medians under names for TensorBoard; those that the method has.
    pub fn medians(&self) -> Vec<(String, f32)> {
        let mut out = vec![
            ("similarity_median/positive".to_string(), self.sim_pos[1]),
            ("similarity_median/negative".to_string(), self.sim_neg[1]),
        ];
        for (role, heads) in [("positive", &self.tau_pos), ("negative", &self.tau_neg)] {
            let named =
                |(h, q): (usize, &Quantiles)| (format!("tau_median/{role}_head_{}", h + 1), q[1]);
            out.extend(heads.iter().enumerate().map(named));
        }
        out.retain(|(_, v)| v.is_finite());
        out
    }

    /// What is wrong, in words.
    pub fn alarms(&self, a: &Amcl, grad_norm: f32, running_median: f32) -> Vec<String> {
        let mut v = Vec::new();
        if self.sim_neg[1] > 0.95 && self.sim_neg[1].is_finite() {
            v.push(format!("collapse: the median similarity of negative pairs is {:.3}; all images look alike to the heads", self.sim_neg[1]));
        }
        // Without negative pairs, the positive ones tell.
        let judged = match self.tau_neg.iter().any(|t| t[1].is_finite()) {
            true => &self.tau_neg,
            false => &self.tau_pos,
        };
        let floor = judged
            .iter()
            .filter(|t| t[1].is_finite())
            .any(|t| t[1] < 1e-3 || f64::from(t[1]) - a.tau_min < 0.01 * a.tau_min);
        if floor {
            v.push(format!("the temperature sits at its floor ({}): it no longer adapts; raise amcl.tau_min or lower amcl.phi_lr", a.tau_min));
        }
        if running_median > 0.0 && grad_norm > 100.0 * running_median {
            v.push(format!("the gradient norm {grad_norm:.3e} is over 100 times its running median {running_median:.3e}"));
        }
        v
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collapse_is_flagged_and_health_is_not() {
        let a = Amcl {
            tau_min: 1e-5,
            ..Amcl::default()
        };
        let n = 8;
        let views = |values| Batch {
            values,
            rows: n,
            columns: n,
            pairs: Pairs::Views,
        };
        let all = vec![0.99; n * n];
        let collapsed = Health::of(views(&all), None, Some(&vec![50.0; n * n]), &a);
        assert_eq!(collapsed.alarms(&a, 1e3, 1.0).len(), 3);
        assert_eq!(collapsed.tau_at_floor, [1.0]);
        let mut s = vec![0.1; n * n];
        (0..n).for_each(|i| s[i * n + (i + 4) % n] = 0.8);
        let well = Health::of(views(&s), None, Some(&vec![0.5; n * n]), &a);
        assert!(well.alarms(&a, 1.0, 1.0).is_empty());
        assert_eq!(well.tau_at_floor, [0.0]);
        assert_eq!((well.sim_pos[1], well.sim_neg[1]), (0.8, 0.1));
        let names: Vec<String> = well.medians().into_iter().map(|m| m.0).collect();
        assert_eq!(names.len(), 4);
        assert_eq!(names[2], "tau_median/positive_head_1");
        let h = &views(&s).histograms(None)[0];
        let at = |v: &[f32]| v.iter().position(|x| *x > 0.9);
        // Bins of 0.04 from -1: 0.8 lies in number 45 (or rounds down to 44), 0.1 in 27.
        assert!(at(&h.pos).is_some_and(|b| b == 44 || b == 45) && at(&h.neg) == Some(27));
    }

    #[test]
    fn every_layout_knows_its_positives() {
        let values = [1.0, 2.0, 3.0, 4.0];
        let positive = |pairs, rows, columns| {
            Batch {
                values: &values,
                rows,
                columns,
                pairs,
            }
            .split()
            .remove(0)
        };
        assert_eq!(positive(Pairs::Views, 2, 2), (vec![2.0, 3.0], vec![]));
        assert_eq!(
            positive(Pairs::FirstColumn, 2, 2),
            (vec![1.0, 3.0], vec![2.0, 4.0])
        );
        assert_eq!(
            positive(Pairs::Diagonal, 2, 2),
            (vec![1.0, 4.0], vec![2.0, 3.0])
        );
        assert_eq!(positive(Pairs::All, 4, 1).0.len(), 4);
    }
}
