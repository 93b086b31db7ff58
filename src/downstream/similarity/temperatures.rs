//! Temperatures of pairs of test images, as the run's loss gives them.

use super::{Pairs, Values, dot};
use crate::downstream::{DownstreamError, Result};
use crate::methods::Temperatures;
use crate::methods::loss::{Amcl, Parametrisation};
use crate::reference::Scalar;
use crate::run::weights::Trained;

/// How temperatures come from phi, as in the run's loss.
pub(super) struct PairTemperatures {
    pub(super) amcl: Amcl,
    /// Learned gain of the centred parametrisation.
    gain: f32,
    /// The loss has positive pairs only (SimSiam). Then scores are centred at the mean over the positive
    /// pairs, and a negative pair (i,j) has the temperature that the loss would give it if it were positive.
    positives_only: bool,
}

impl PairTemperatures {
    pub(super) fn of(run: &Trained, amcl: Amcl, pairs: Temperatures) -> Result<Self> {
        let gain = run.weights.get("phi.gain");
        let gain = gain.and_then(|g| g.values.first()).copied();
        if gain.is_none() && amcl.parametrisation == Parametrisation::Centred {
            return Err(DownstreamError::Request(
                "the checkpoint has no phi.gain, which centred temperatures need".into(),
            ));
        }
        Ok(Self {
            amcl,
            gain: gain.unwrap_or(1.0),
            positives_only: pairs == Temperatures::PositivePairs,
        })
    }

    /// Scaled scores in words.
    pub(super) fn describe(&self) -> String {
        let mean = match (self.amcl.parametrisation, self.positives_only) {
            (Parametrisation::Dot, _) => "",
            (Parametrisation::Centred, true) => {
                "; tau from scores centred at their mean over the positive pairs here, \
                 as the loss centres them at a batch's"
            }
            (Parametrisation::Centred, false) => {
                "; tau from scores centred at their mean over all pairs of these views, \
                 as the loss centres them at a batch's"
            }
        };
        format!("s t / tau of each pair, t the mean tau of the head's pairs here{mean}")
    }

    /// Temperatures of pairs, from phi of the anchors and of what they are compared with, both [rows,d] of one head.
    pub(super) fn taus(&self, pairs: &Pairs, p: &[f32], q: &[f32], d: usize) -> Values {
        let a = &self.amcl;
        let scores = match a.parametrisation {
            Parametrisation::Dot => pairs.values(p, q, d, dot),
            Parametrisation::Centred => {
                let cosines = pairs.cosines(p, q, d);
                let mean = if self.positives_only {
                    cosines[0].iter().sum::<f32>() / cosines[0].len() as f32
                } else {
                    mean_cosine(p, q, d)
                };
                let offset = offset(a);
                cosines.map(|v| v.iter().map(|x| self.gain * (x - mean) + offset).collect())
            }
        };
        let (of_positive, of_negative) = a.roles();
        let adapts = [of_positive, of_negative || self.positives_only];
        let tau = |r: &f32| a.tau_min as f32 + a.range() as f32 / (1.0 + r.at_most(80.0).exp());
        [0, 1].map(|k| match adapts[k] {
            true => scores[k].iter().map(tau).collect(),
            false => vec![a.tau_const as f32; scores[k].len()],
        })
    }
}

/// The score whose temperature is tau0.
fn offset(a: &Amcl) -> f32 {
    (a.range() / (a.tau0 - a.tau_min) - 1.0).ln() as f32
}

/// Mean cosine over all pairs of different rows, x and y [rows,d].
fn mean_cosine(x: &[f32], y: &[f32], d: usize) -> f32 {
    let unit = |x: &[f32]| -> Vec<f64> {
        let row = |r: &[f32]| {
            let r: Vec<f64> = r.iter().map(|v| f64::from(*v)).collect();
            let length = r.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12);
            r.into_iter().map(move |v| v / length)
        };
        x.chunks(d).flat_map(row).collect()
    };
    let (x, y, n) = (unit(x), unit(y), (x.len() / d) as f64);
    let sum = |x: &[f64], k: usize| x.iter().skip(k).step_by(d).sum::<f64>();
    // The product of the sums of rows is the sum of the products; the diagonal is no pair.
    let all: f64 = (0..d).map(|k| sum(&x, k) * sum(&y, k)).sum();
    let diagonal: f64 = x.iter().zip(&y).map(|(x, y)| x * y).sum();
    ((all - diagonal) / (n * (n - 1.0))) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::loss::Adaptive;

    /// Two views of two images; phi is what was given.
    fn temperatures(parametrisation: Parametrisation, adaptive: Adaptive) -> PairTemperatures {
        PairTemperatures {
            amcl: Amcl {
                parametrisation,
                adaptive,
                tau_const: 0.3,
                ..Amcl::default()
            },
            gain: 2.0,
            positives_only: false,
        }
    }

    #[test]
    fn temperatures_are_the_loss_s() {
        let pairs = Pairs([vec![(0, 2), (1, 3)], vec![(0, 3), (1, 2)]]);
        let p = [1.0, 0.0, 0.0, 2.0, 1.0, 0.0, 1.0, 1.0];
        let a = Amcl::default();
        let tau = |r: f32| a.tau_min as f32 + a.range() as f32 / (1.0 + r.exp());
        let near = |v: &Values, w: [[f32; 2]; 2]| {
            let both = v.iter().flatten().zip(w.iter().flatten());
            both.for_each(|(x, y)| assert!((x - y).abs() < 1e-5, "{v:?} {w:?}"));
        };
        let dot = temperatures(Parametrisation::Dot, Adaptive::Full).taus(&pairs, &p, &p, 2);
        near(&dot, [[tau(1.0), tau(2.0)], [tau(1.0), tau(0.0)]]);
        let one =
            temperatures(Parametrisation::Dot, Adaptive::PositiveOnly).taus(&pairs, &p, &p, 2);
        near(&one, [[tau(1.0), tau(2.0)], [0.3, 0.3]]);
        // Cosines of the six pairs of rows: 0, 1, h, 0, h, h, h = sqrt(1/2).
        let h = 0.5f32.sqrt();
        let mean = (1.0 + 3.0 * h) / 6.0;
        assert!((mean_cosine(&p, &p, 2) - mean).abs() < 1e-6);
        let at = |x: f32, mean: f32| tau(2.0 * (x - mean) + offset(&a));
        let mut t = temperatures(Parametrisation::Centred, Adaptive::Full);
        let centred = t.taus(&pairs, &p, &p, 2);
        near(
            &centred,
            [[at(1.0, mean), at(h, mean)], [at(h, mean), at(0.0, mean)]],
        );
        // A score at the mean has tau0.
        assert!((at(mean, mean) - a.tau0 as f32).abs() < 1e-6);
        t.positives_only = true;
        let mean = (1.0 + h) / 2.0;
        let alone = t.taus(&pairs, &p, &p, 2);
        near(
            &alone,
            [[at(1.0, mean), at(h, mean)], [at(h, mean), at(0.0, mean)]],
        );
    }
}
