//! Signs of collapse that a finite loss hides: quantiles of similarities and temperatures, and the alarms made of them.

use crate::methods::loss::Amcl;
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
}

fn quantiles(mut v: Vec<f32>) -> Quantiles {
    v.sort_by(f32::total_cmp);
    [0.05, 0.5, 0.95].map(|q| {
        v.get(((v.len().max(1) - 1) as f64 * q).round() as usize)
            .copied()
            .unwrap_or(f32::NAN)
    })
}

/// Splits matrices [heads,n,n] into positive and negative pairs (self excluded).
fn pairs(m: &[f32], n: usize) -> Vec<(Vec<f32>, Vec<f32>)> {
    m.chunks(n * n)
        .map(|m| {
            let (mut pos, mut neg) = (Vec::with_capacity(n), Vec::with_capacity(n * n));
            for i in 0..n {
                for j in (0..n).filter(|j| *j != i) {
                    if j == (i + n / 2) % n {
                        pos.push(m[i * n + j])
                    } else {
                        neg.push(m[i * n + j])
                    }
                }
            }
            (pos, neg)
        })
        .collect()
}

/// An alarm when the backbone's features have collapsed; `std` as [`crate::eval::spread::Spread::feature_std`] has it (1: spread over the sphere).
pub fn feature_alarm(std: f64) -> Option<String> {
    (std < 0.1).then(|| {
        format!("collapse: the deviation of the normalised backbone features is {std:.3} of what spread features have")
    })
}

impl Health {
    /// From similarities [c,n,n] and, when temperatures adapt, scores.
    pub fn of(similarity: &[f32], score: Option<&[f32]>, n: usize, a: &Amcl) -> Self {
        let (pos, neg): (Vec<_>, Vec<_>) = pairs(similarity, n).into_iter().unzip();
        let mut out = Self {
            sim_pos: quantiles(pos.concat()),
            sim_neg: quantiles(neg.concat()),
            ..Self::default()
        };
        for (pos, neg) in score.map(|r| pairs(r, n)).unwrap_or_default() {
            let tau = |v: Vec<f32>| {
                quantiles(
                    v.into_iter()
                        .map(|r| {
                            (a.tau_min + a.range() / (1.0 + f64::from(r.min(80.0)).exp())) as f32
                        })
                        .collect(),
                )
            };
            out.tau_pos.push(tau(pos));
            out.tau_neg.push(tau(neg));
        }
        out
    }

    /// What is wrong, in words.
    pub fn alarms(&self, a: &Amcl, grad_norm: f32, running_median: f32) -> Vec<String> {
        let mut v = Vec::new();
        if self.sim_neg[1] > 0.95 {
            v.push(format!("collapse: the median similarity of negative pairs is {:.3}; all images look alike to the heads", self.sim_neg[1]));
        }
        let floor = self
            .tau_neg
            .iter()
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
        let collapsed = Health::of(&vec![0.99; n * n], Some(&vec![50.0; n * n]), n, &a);
        assert_eq!(collapsed.alarms(&a, 1e3, 1.0).len(), 3);
        let mut s = vec![0.1; n * n];
        (0..n).for_each(|i| s[i * n + (i + 4) % n] = 0.8);
        let well = Health::of(&s, Some(&vec![0.5; n * n]), n, &a);
        assert!(well.alarms(&a, 1.0, 1.0).is_empty());
        assert_eq!((well.sim_pos[1], well.sim_neg[1]), (0.8, 0.1));
    }
}
