//! The linear probe: softmax regression on frozen features by SGD, on any executor. Weights start at zero, so
//! that the order of samples is the only thing that depends on the seed.

use super::{DownstreamError, Result};
use crate::config::{Config, Decays, Optim};
use crate::data::augment::Policy;
use crate::data::sampler;
use crate::graph::{
    Executor, Graph, HostData, ProgramId, StateId, StepScalars, TensorId, TensorType,
};
use crate::nn::layers::Linear;
use crate::nn::{Mode, Model, Net};
use crate::ops;
use crate::ops::log_sum_exp::LogSumExp;
use crate::train::optimizer::{self, Delivery, Optimizer};

/// How the learning rate decays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// Along a cosine to zero, epoch by epoch.
    Cosine,
    /// By a factor of ten at 60 % and again at 80 % of the epochs.
    Steps,
}

impl Decay {
    /// The rate after a share `t` of the epochs, where it starts at `lr`.
    pub(super) fn rate(self, lr: f32, t: f64) -> f32 {
        match self {
            Self::Cosine => (f64::from(lr) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos())) as f32,
            Self::Steps if t < 0.6 => lr,
            Self::Steps if t < 0.8 => lr * 0.1,
            Self::Steps => lr * 0.01,
        }
    }
}

/// The augmentation of protocols that crop and mirror labelled images. It is that of the code bases, not the
/// run's own. Only the normalisation is the run's, because the encoder was trained with it.
pub fn crops(own: &Policy) -> Policy {
    Policy {
        families: "ae".into(),
        min_scale: 0.08,
        hf_prob: 0.5,
        // Solarization belongs to no family, so leaving out letters does not switch it off.
        solarization_prob: [0.0; 2],
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
        Decay::Cosine => "cosine",
        Decay::Steps => "a tenth at 60 % and 80 %",
    };
    format!(
        "{} lr {} momentum {} wd {}, {clip}, {decay}, {epochs} epochs, batch {} \
         (all images where they are fewer; an epoch's last, incomplete batch is left out)",
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
    /// Momentum of SGD.
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
pub const PROTOCOLS: [Protocol; 4] = [
    // 90 epochs, lr 0.1 batch/256, cosine.
    Protocol {
        name: "lightly",
        epochs: 90,
        batch_size: 256,
        lr: 0.1,
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
        momentum: 0.9,
        weight_decay: 0.0,
        decay: Decay::Cosine,
        augment: false,
    },
];

impl Protocol {
    /// Learning rate of an epoch.
    fn lr(&self, epoch: usize) -> f32 {
        self.decay.rate(self.lr, epoch as f64 / self.epochs as f64)
    }

    fn optim(&self) -> Optim {
        sgd(self.lr, self.momentum, self.weight_decay, self.batch_size)
    }

    /// The protocol in words.
    pub fn describe(&self) -> String {
        let seen = match self.augment {
            true => format!("{} anew every epoch", crops_in_words()),
            false => "test transform, no augmentation".into(),
        };
        format!(
            "linear probe ({}): frozen backbone features, {seen}, {}; last epoch",
            self.name,
            training_in_words(&self.optim(), self.decay, self.epochs)
        )
    }
}

/// Features [n,d] with labels.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// Features, row by row.
    pub features: &'a [f32],
    /// A class a row.
    pub labels: &'a [u32],
}

/// What the probe found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Found {
    /// Accuracy on the test features in percent.
    pub top1: f64,
    /// Share of test features whose class is among the five likeliest, in percent.
    pub top5: f64,
    /// Accuracy on the training features in percent.
    pub train_top1: f64,
    /// Loss of the last step.
    pub loss: f64,
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

/// A compiled probe.
struct Probe {
    model: Model,
    weight: StateId,
    bias: StateId,
    grad: ProgramId,
    x: TensorId,
    y: TensorId,
    loss: TensorId,
    optimizer: Optimizer,
}

impl Probe {
    fn compile(
        p: &Protocol,
        batch: usize,
        d: usize,
        classes: usize,
        exec: &mut dyn Executor,
    ) -> Result<Self> {
        let config = Config {
            optim: p.optim(),
            ..Config::default()
        };
        let (mut g, mut model) = (Graph::new(), Model::default());
        let x = g.input("features", TensorType::f32([batch, d]));
        let y = g.input("one-hot labels", TensorType::f32([batch, classes]));
        let mut net = Net::new(&mut g, &mut model, Mode::Train);
        let logits = Linear::classifier(&mut net, [classes, d]).call(&mut net, x)?;
        let loss = cross_entropy(&mut g, logits, y)?;
        let params: Vec<TensorId> = model
            .params
            .iter()
            .map(|p| g.state(&model.states, p.id))
            .collect();
        let grads = ops::backward(&mut g, loss, &params)?;
        let (u, optimizer) = Optimizer::graph(&config.optim, &mut model)?;
        optimizer::collect(&mut g, &model, &grads, Delivery::Written)?;
        exec.allocate_states(&model.states)?;
        let grad = exec.compile(&g, &[loss])?;
        let optimizer = optimizer.compile(&u, &config.optim, &[], &model, exec)?;
        model.initialise(exec, 0)?;
        let [weight, bias] = [model.params[0].id, model.params[1].id];
        Ok(Self {
            model,
            weight,
            bias,
            grad,
            x,
            y,
            loss,
            optimizer,
        })
    }

    fn step(
        &self,
        exec: &mut dyn Executor,
        x: Vec<f32>,
        y: Vec<f32>,
        scalars: &StepScalars,
    ) -> Result<()> {
        exec.upload(self.grad, self.x, &HostData::F32(x))?;
        exec.upload(self.grad, self.y, &HostData::F32(y))?;
        exec.run(self.grad, scalars)?;
        exec.run(self.optimizer.program, scalars)?;
        Ok(())
    }
}

/// Top-k accuracy of the linear layer (w, b), in percent.
fn top(k: usize, data: Labelled<'_>, (w, b): (&[f32], &[f32]), d: usize) -> f64 {
    let classes = b.len();
    let hits = data
        .features
        .chunks(d)
        .zip(data.labels)
        .filter(|(x, label)| {
            let logit = |c: usize| {
                let dot = x.iter().zip(&w[c * d..(c + 1) * d]).map(|(x, w)| x * w);
                dot.sum::<f32>() + b[c]
            };
            let own = logit(**label as usize);
            let better = (0..classes).filter(|c| *c != **label as usize && logit(*c) >= own);
            better.count() < k
        })
        .count();
    100.0 * hits as f64 / data.labels.len().max(1) as f64
}

/// Makes the training features of an epoch, for protocols that augment.
pub type Fresh<'a> = &'a mut dyn FnMut(usize) -> Result<Vec<f32>>;

/// Trains the probe and tests it. The last, incomplete batch of an epoch is left out. `fresh` makes an
/// epoch's training features if the protocol augments; the training accuracy is that of `train` in any case.
///
/// # Errors
/// No samples; the device.
#[allow(clippy::too_many_arguments, reason = "the facts of one experiment")]
pub fn probe(
    p: &Protocol,
    train: Labelled<'_>,
    test: Labelled<'_>,
    classes: usize,
    seed: u64,
    exec: &mut dyn Executor,
    fresh: Fresh<'_>,
    progress: &dyn Fn(usize, usize),
) -> Result<Found> {
    let n = train.labels.len();
    if n == 0 || classes < 2 || p.epochs == 0 || p.batch_size == 0 {
        return Err(DownstreamError::Request(
            "a probe needs labelled samples of at least two classes, epochs and a batch".into(),
        ));
    }
    let (d, batch) = (train.features.len() / n, p.batch_size.min(n));
    let probe = Probe::compile(p, batch, d, classes, exec)?;
    let mut step = 0;
    for epoch in 0..p.epochs {
        let order = sampler::permutation(n, seed, epoch as u32);
        let views = if p.augment { Some(fresh(epoch)?) } else { None };
        let features = views.as_deref().unwrap_or(train.features);
        for ids in order.chunks_exact(batch) {
            let (mut x, mut y) = (Vec::with_capacity(batch * d), vec![0.0; batch * classes]);
            for (row, id) in ids.iter().enumerate() {
                let id = *id as usize;
                x.extend_from_slice(&features[id * d..(id + 1) * d]);
                y[row * classes + train.labels[id] as usize] = 1.0;
            }
            let scalars = StepScalars {
                step,
                lr: p.lr(epoch),
                ..StepScalars::default()
            };
            probe.step(exec, x, y, &scalars)?;
            step += 1;
        }
        progress(epoch + 1, p.epochs);
    }
    let states = &probe.model.states;
    let w = exec.read_state(states, probe.weight)?.to_f32();
    let b = exec.read_state(states, probe.bias)?.to_f32();
    let loss = exec.fetch(probe.grad, probe.loss)?.to_f64()[0];
    if !loss.is_finite() {
        return Err(DownstreamError::NonFinite(format!(
            "the probe's loss is {loss}: lower its learning rate (--lr)"
        )));
    }
    let layer = (&w[..], &b[..]);
    Ok(Found {
        top1: top(1, test, layer, d),
        top5: top(5, test, layer, d),
        train_top1: top(1, train, layer, d),
        loss,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::host::HostExecutor;

    /// PyTorch 2 on the same numbers: nn.Linear(6, 3) from zero, 40 full-batch steps of SGD(lr=.5,
    /// momentum=.9, weight_decay=1e-3), cosine per step. Recorded: the loss before the last update and the
    /// accuracies.
    #[test]
    fn equals_pytorchs_softmax_regression() {
        let x: Vec<f32> = (0..60 * 6)
            .map(|i| ((i * 37 + i / 6 * 11) % 41) as f32 / 20.0 - 1.0)
            .collect();
        let labels: Vec<u32> = (0..60).map(|i| ((i * i + i / 7) % 3) as u32).collect();
        let p = Protocol {
            name: "test",
            epochs: 40,
            batch_size: 60,
            lr: 0.5,
            momentum: 0.9,
            weight_decay: 1e-3,
            decay: Decay::Cosine,
            augment: false,
        };
        let fresh: Fresh<'_> = &mut |_| unreachable!("nothing is augmented");
        let all = Labelled {
            features: &x,
            labels: &labels,
        };
        let exec = &mut HostExecutor::<f32>::new();
        let found = probe(&p, all, all, 3, 0, exec, fresh, &|_, _| ()).unwrap();
        assert!((found.loss - RECORDED.0).abs() < 2e-6, "{found:?}");
        assert!((found.top1 - RECORDED.1).abs() < 1e-9, "{found:?}");
        assert_eq!((found.top5, found.train_top1), (100.0, found.top1));
        // The control: another schedule ends elsewhere.
        let steps = Protocol {
            decay: Decay::Steps,
            ..p
        };
        let other = probe(
            &steps,
            all,
            all,
            3,
            0,
            &mut HostExecutor::<f32>::new(),
            fresh,
            &|_, _| (),
        );
        assert!((other.unwrap().loss - RECORDED.0).abs() > 1e-5);
        // With augmentation every epoch asks for its features. Here it is given the same ones.
        let crops = Protocol { augment: true, ..p };
        let mut asked = Vec::new();
        let mut again = |epoch| {
            asked.push(epoch);
            Ok(x.clone())
        };
        let exec = &mut HostExecutor::<f32>::new();
        let found = probe(&crops, all, all, 3, 0, exec, &mut again, &|_, _| ()).unwrap();
        assert!((found.loss - RECORDED.0).abs() < 2e-6, "{found:?}");
        assert_eq!(asked, (0..40).collect::<Vec<_>>());
    }

    const RECORDED: (f64, f64) = (1.025_567_65, 40.0);

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
            let said = p.describe();
            for part in [
                format!("crops ({} to 1)", seen.min_scale),
                format!("mirroring ({})", seen.hf_prob),
                format!(
                    "SGD lr {} momentum {} wd {}",
                    o.lr, o.momentum, o.weight_decay
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
