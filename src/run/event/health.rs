//! Statistics of a batch's pairs, and what they warn of. `train::health` makes them.

use serde::Serialize;
use std::fmt;

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
    /// How far apart all temperatures of a head lie, per head: from the least of the 5 % quantiles of its roles that
    /// adapt to the largest of their 95 % quantiles, over the median.
    pub tau_spread: Vec<f32>,
    /// How alike every two of several heads are on the epoch's last batch, in the order (1,2), (1,3), .. (2,3), ..: CKA
    /// of their outputs ([`crate::eval::cka`]), of the first heads where there are many.
    pub head_cka: Vec<f64>,
    /// The same of the loss's gradient to these outputs.
    pub head_gradient_cka: Vec<f64>,
    /// Share of anchors, over all heads, whose positive is as similar as any candidate; none where the loss has no
    /// such candidates. With AMCL's max form and the positive among the candidates, these anchors are dead: they have
    /// no gradient.
    pub positive_nearest: Option<f32>,
}

impl Health {
    /// Medians, and the share of nearest positives, under names for TensorBoard; those that the method has.
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
        let spread = self.tau_spread.iter().enumerate();
        out.extend(spread.map(|(h, v)| (format!("tau_spread/head_{}", h + 1), *v)));
        for (name, pairs) in [
            ("cka", &self.head_cka),
            ("gradient_cka", &self.head_gradient_cka),
        ] {
            if !pairs.is_empty() {
                let mean = pairs.iter().sum::<f64>() / pairs.len() as f64;
                out.push((format!("heads/{name}"), mean as f32));
            }
        }
        let nearest = self.positive_nearest.iter();
        out.extend(nearest.map(|v| ("anchors/positive_nearest".to_string(), *v)));
        out.retain(|(_, v)| v.is_finite());
        out
    }
}

/// Shares of pairs by similarity, in bins of equal width over [`Histograms::RANGE`]; empty where there are no such
/// pairs.
#[derive(Clone, Debug, Serialize)]
pub struct Histograms {
    /// Of positive pairs.
    pub pos: Vec<f32>,
    /// Of negative pairs.
    pub neg: Vec<f32>,
}

impl Histograms {
    /// Lower end of the first bin, upper end of the last.
    pub const RANGE: [f32; 2] = [-1.0, 1.0];
}

/// A sign of collapse or divergence that a finite loss hides.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Alarm {
    /// Views of different images look alike to the heads.
    NegativesAlike {
        /// Median similarity of negative pairs.
        median: f32,
    },
    /// The temperature no longer adapts.
    TemperatureAtFloor {
        /// The floor.
        tau_min: f64,
    },
    /// The temperatures of a head are one value, away from the floor.
    TemperaturesAlike {
        /// The head, counted from 1: of those of which it is true, the one whose temperatures lie closest.
        head: usize,
        /// How far apart they lie, over their median.
        spread: f32,
        /// Their median.
        tau: f32,
        /// Ends of epochs in a row at which they were.
        epochs: usize,
    },
    /// Hardly an anchor has a gradient: AMCL's max form with the positive among the candidates.
    AnchorsDead {
        /// Share of the anchors that have none.
        share: f32,
        /// Epochs in a row with such a share.
        epochs: usize,
    },
    /// A step's gradient was far larger than usual.
    Gradient {
        /// The epoch's largest norm.
        norm: f32,
        /// The run's median norm.
        median: f32,
    },
    /// The backbone's features have collapsed.
    FeaturesAlike {
        /// Deviation of the normalised features; 1 when they spread over the sphere.
        deviation: f64,
    },
    /// Some of the backbone's features are not finite.
    FeaturesNotFinite,
    /// Hidden pixels are predicted no better than at the start.
    StandsStill {
        /// The reconstruction's loss in the run's first epoch.
        first: f64,
        /// The same in the epoch that has ended.
        now: f64,
        /// How many epochs those are.
        epochs: usize,
    },
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NegativesAlike { median } => write!(
                f,
                "collapse: the median similarity of negative pairs is {median:.3}; all images look alike to the heads"
            ),
            Self::TemperatureAtFloor { tau_min } => write!(
                f,
                "the temperature sits at its floor ({tau_min}): it no longer adapts; raise amcl.tau_min or \
                 lower amcl.phi_lr"
            ),
            Self::TemperaturesAlike {
                head,
                spread,
                tau,
                epochs,
            } => write!(
                f,
                "temperatures no longer adapt: those of head {head} lie within {:.2} % of each other (about {tau:.3}), at \
                 the end of {epochs} epochs in a row, so that amcl.adaptive = \"none\" with amcl.tau_const = {tau:.3} \
                 would do the same; amcl.parametrisation = \"centred\" keeps them apart",
                100.0 * spread
            ),
            Self::AnchorsDead { share, epochs } => write!(
                f,
                "{:.0} % of the anchors are dead, for {epochs} epochs now: their positive is their nearest candidate, \
                 where amcl.negatives = \"max\" with amcl.include_positive gives no gradient; softmax does",
                100.0 * share
            ),
            Self::Gradient { norm, median } => write!(
                f,
                "the gradient norm {norm:.3e} is over 100 times its running median {median:.3e}"
            ),
            Self::FeaturesAlike { deviation } => write!(
                f,
                "collapse: the deviation of the normalised backbone features is {deviation:.3} of what spread \
                 features have"
            ),
            Self::FeaturesNotFinite => f.write_str(
                "features of test images are not finite, so the accuracy means nothing: a running statistic of a batch \
                 norm may have overflowed",
            ),
            Self::StandsStill { first, now, epochs } => write!(
                f,
                "the loss stands still: the error of hidden pixels is {now:.4} after {epochs} epochs and was \
                 {first:.4} in the first; optim.lr may be too small or too large (unless the run began with weights \
                 that had learnt it)"
            ),
        }
    }
}
