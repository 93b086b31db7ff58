//! Linear probes: softmax regression on frozen features. A [`Protocol`] trains it step by step on any executor, as code
//! bases do; [`Logistic`] solves it to convergence. A [`Classifier`] is either.

mod logistic;
mod train;

pub use logistic::{GAP, LGP, Logistic, Solved};
pub use train::{Found, Fresh, Labelled, Open, probe};

use super::Result;
use crate::config::{Decays, Optim, TrustNorm};
use crate::data::augment::Policy;
use crate::graph::{Graph, TensorId};
use crate::ops::log_sum_exp::LogSumExp;

/// How the learning rate decays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// Along a cosine to zero, epoch by epoch.
    Cosine,
    /// By a factor of ten at 60 % and again at 80 % of the epochs.
    Steps,
    /// Up in a straight line from zero over so many epochs, then along a cosine to zero, step by step (MAE).
    Warm(usize),
}

impl Decay {
    /// The rate after a share `t` of the epochs, where it starts at `lr`. One that warms up has
    /// [`Decay::rate_at`].
    pub(super) fn rate(self, lr: f32, t: f64) -> f32 {
        match self {
            Self::Cosine | Self::Warm(_) => {
                (f64::from(lr) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos())) as f32
            }
            Self::Steps if t < 0.6 => lr,
            Self::Steps if t < 0.8 => lr * 0.1,
            Self::Steps => lr * 0.01,
        }
    }

    /// The rate of a step of an epoch, of `steps` in each of `epochs`. Only [`Decay::Warm`] moves within an epoch.
    fn rate_at(
        self,
        lr: f32,
        (epoch, epochs): (usize, usize),
        (step, steps): (usize, usize),
    ) -> f32 {
        let Self::Warm(warm) = self else {
            return self.rate(lr, epoch as f64 / epochs as f64);
        };
        let at = epoch as f64 + step as f64 / steps.max(1) as f64;
        let warm = warm.min(epochs) as f64;
        match at < warm {
            true => (f64::from(lr) * at / warm) as f32,
            false => self.rate(lr, (at - warm) / (epochs as f64 - warm)),
        }
    }
}

/// The augmentation of protocols that crop and mirror labelled images. It is that of the code bases, not the
/// run's own. Only the normalisation and the filter of resizing are the run's, because the encoder was trained with
/// them.
pub fn crops(own: &Policy) -> Policy {
    Policy {
        families: "ae".into(),
        min_scale: 0.08,
        hf_prob: 0.5,
        // Solarization belongs to no family, so leaving out letters does not switch it off.
        solarization_prob: [0.0; 2],
        interpolation: own.interpolation,
        mean: own.mean,
        std: own.std,
        ..Policy::default()
    }
}

/// What [`crops`] does, in words.
pub(super) fn crops_in_words() -> String {
    let p = crops(&Policy::default());
    format!(
        "random crops ({} to 1) and mirroring ({})",
        p.min_scale, p.hf_prob
    )
}

/// PyTorch's SGD as the protocols use it: no clipping, weight decay on all parameters.
pub(super) fn sgd(lr: f32, momentum: f32, weight_decay: f32, batch_size: usize) -> Optim {
    Optim {
        name: "sgd".into(),
        lr,
        momentum,
        nesterov: false,
        weight_decay,
        decay: Decays::All,
        batch_size,
        clip: 0.0,
        ..Optim::default()
    }
}

/// A protocol's optimiser and the decay of its rate, in words.
pub(super) fn training_in_words(o: &Optim, decay: Decay, epochs: usize) -> String {
    let clip = match o.clip {
        0.0 => "no clipping".into(),
        norm => format!("gradients clipped at norm {norm}"),
    };
    let decay = match decay {
        Decay::Cosine => "cosine".into(),
        Decay::Steps => "a tenth at 60 % and 80 %".into(),
        Decay::Warm(warm) => {
            format!(
                "{} epochs of warm-up and cosine, step by step",
                warm.min(epochs)
            )
        }
    };
    // `probe` takes LARS's rate in proportion to the batch that there is.
    let fewer = match o.name == "lars" {
        true => "all images where they are fewer, with a rate as much smaller",
        false => "all images where they are fewer",
    };
    format!(
        "{} lr {} momentum {} wd {}, {clip}, {decay}, {epochs} epochs, batch {} \
         ({fewer}; an epoch's last, incomplete batch is left out)",
        o.name.to_uppercase(),
        o.lr,
        o.momentum,
        o.weight_decay,
        o.batch_size
    )
}

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Protocol {
    /// Its name.
    pub name: &'static str,
    /// Epochs.
    pub epochs: usize,
    /// Samples a step.
    pub batch_size: usize,
    /// Learning rate at this batch size.
    pub lr: f32,
    /// By LARS in place of SGD (You, Gitman, Ginsburg 2017), with a trust coefficient of 0.001, and with weights that
    /// start as normal of deviation 0.01 in place of zero.
    pub lars: bool,
    /// Standardise features as batch norm without scale and shift does (eps 1e-6): by the batch's statistics while
    /// training, by running ones (momentum 0.1) in the test.
    pub standardise: bool,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Schedule.
    pub decay: Decay,
    /// Train on features of images that are cropped and mirrored anew every epoch. Else the features of the
    /// plain images are computed once.
    pub augment: bool,
}

/// Protocols of well-known code bases. These crop and mirror; [`Protocol::augment`] has to be set for that.
pub const PROTOCOLS: [Protocol; 6] = [
    // 90 epochs, lr 0.1 batch/256, cosine.
    Protocol {
        name: "lightly",
        epochs: 90,
        batch_size: 256,
        lr: 0.1,
        lars: false,
        standardise: false,
        momentum: 0.9,
        weight_decay: 0.0,
        decay: Decay::Cosine,
        augment: false,
    },
    // 100 epochs, steps at 60 and 80.
    Protocol {
        name: "solo",
        epochs: 100,
        batch_size: 256,
        lr: 0.1,
        lars: false,
        standardise: false,
        momentum: 0.9,
        weight_decay: 0.0,
        decay: Decay::Steps,
        augment: false,
    },
    // lr 30, steps at 60 and 80 of 100.
    Protocol {
        name: "moco",
        epochs: 100,
        batch_size: 256,
        lr: 30.0,
        lars: false,
        standardise: false,
        momentum: 0.9,
        weight_decay: 0.0,
        decay: Decay::Steps,
        augment: false,
    },
    // The AMCL authors' later code: lr 0.1, batch 512, cosine, 100 epochs.
    Protocol {
        name: "amcl",
        epochs: 100,
        batch_size: 512,
        lr: 0.1,
        lars: false,
        standardise: false,
        momentum: 0.9,
        weight_decay: 0.0,
        decay: Decay::Cosine,
        augment: false,
    },
    // MAE's code (main_linprobe.py): batch norm without affine, LARS, 0.1 batch/256, warm-up over 10 of 90 epochs.
    Protocol {
        name: "mae",
        epochs: 90,
        batch_size: 16384,
        lr: 6.4,
        lars: true,
        standardise: true,
        momentum: 0.9,
        weight_decay: 0.0,
        decay: Decay::Warm(10),
        augment: false,
    },
    // The same for some thousand images. LARS goes so far in an epoch as rate and number of images say, whatever the
    // gradients are, so 1/SMALL of ImageNet's images take SMALL times the rate. Biases, whose steps LARS does not
    // limit, bear that in batches of 128.
    Protocol {
        name: "mae-small",
        epochs: 90,
        batch_size: 128,
        lr: 0.05 * SMALL,
        lars: true,
        standardise: true,
        momentum: 0.9,
        weight_decay: 0.0,
        decay: Decay::Warm(10),
        augment: false,
    },
];

/// How many times 5,000 images ImageNet has: `mae-small` has so many times MAE's rate.
const SMALL: f32 = 256.0;

impl Protocol {
    /// Does the learning rate grow with the batch? lightly's and MAE's are for 256 images.
    pub(super) fn scales(&self) -> bool {
        self.lars || self.name == "lightly"
    }

    fn optim(&self) -> Optim {
        let sgd = sgd(self.lr, self.momentum, self.weight_decay, self.batch_size);
        match self.lars {
            false => sgd,
            true => Optim {
                name: "lars".into(),
                trust: 1e-3,
                trust_norm: TrustNorm::Step,
                ..sgd
            },
        }
    }

    /// The protocol in words, for features in words.
    fn describe(&self, features: &str) -> String {
        let seen = match self.augment {
            true => format!("{} anew every epoch", crops_in_words()),
            false => "test transform, no augmentation".into(),
        };
        let norm = match self.standardise {
            true => {
                "batch norm without scale and shift (eps 1e-6, running statistics in the test), "
            }
            false => "",
        };
        format!(
            "linear probe ({}): frozen {features}, {seen}, {norm}{}; last epoch",
            self.name,
            training_in_words(&self.optim(), self.decay, self.epochs)
        )
    }
}

/// How a linear classifier comes about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Classifier {
    /// Trained step by step.
    Trained(Protocol),
    /// Solved to convergence.
    Solved(Logistic),
}

impl Classifier {
    /// The protocol in words, for features in words.
    pub fn describe(&self, features: &str) -> String {
        match self {
            Self::Trained(p) => p.describe(features),
            Self::Solved(l) => l.describe(features),
        }
    }
}

/// Cross entropy: the mean over rows of log-sum-exp(logits) - logits[class]. `logits` and the one-hot labels
/// `y` are [n,classes].
///
/// # Errors
/// Shapes that do not fit.
pub(super) fn cross_entropy(g: &mut Graph, logits: TensorId, y: TensorId) -> Result<TensorId> {
    let all = g.push1(LogSumExp, &[logits])?;
    let own = g.row_dot(logits, y)?;
    let each = g.sub(all, own)?;
    let rows = g.dims(logits)[0];
    Ok(g.scaled_sum(each, 1.0 / rows as f64)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a run's own views and optimiser are, a protocol does what it says.
    #[test]
    fn a_protocol_says_what_it_does() {
        let odd = Policy {
            families: "abcd".into(),
            min_scale: 0.9,
            hf_prob: 1.0,
            solarization_prob: [1.0; 2],
            mean: [0.1; 3],
            std: [0.7; 3],
            ..Policy::default()
        };
        let (seen, usual) = (crops(&odd), crops(&Policy::default()));
        assert_eq!((seen.mean, seen.std), (odd.mean, odd.std));
        assert_eq!((seen.min_scale, seen.hf_prob), (0.08, 0.5));
        let ids: Vec<u32> = (0..64).collect();
        let rows = |p: &Policy| p.two_views((32, 32), &ids, 32, 3, 1);
        assert_eq!(rows(&seen), rows(&usual));
        assert_ne!(rows(&seen), rows(&odd), "the control");
        for p in PROTOCOLS {
            let (p, o) = (Protocol { augment: true, ..p }, p.optim());
            let said = p.describe("backbone features");
            for part in [
                format!("crops ({} to 1)", seen.min_scale),
                format!("mirroring ({})", seen.hf_prob),
                format!(
                    "{} lr {} momentum {} wd {}",
                    if p.lars { "LARS" } else { "SGD" },
                    o.lr,
                    o.momentum,
                    o.weight_decay
                ),
                format!("batch {} ", o.batch_size),
            ] {
                assert!(said.contains(&part), "`{part}` is not in: {said}");
            }
            let clipped = Optim { clip: 10.0, ..o };
            let other = training_in_words(&clipped, p.decay, p.epochs);
            assert!(said.contains("no clipping") && other.contains("clipped at norm 10"));
        }
    }
}
