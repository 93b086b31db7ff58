//! A probe that is trained step by step: one classifier for each feature, side by side, so that views that are cropped
//! anew are encoded once for all of them.

use super::{Protocol, cross_entropy};
use crate::data::sampler;
use crate::downstream::{DownstreamError, Result};
use crate::graph::{
    Executor, Graph, HostData, ProgramId, StateId, StepScalars, TensorId, TensorType,
};
use crate::nn::layers::Linear;
use crate::nn::{Init, Mode, Model, Net};
use crate::ops;
use crate::train::optimizer::{self, Delivery, Optimizer};

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
    /// Loss of the last step, or of the solution.
    pub loss: f64,
}

/// Batch norm without scale and shift, on the host: features are given, so that no gradient passes it.
struct Standard {
    mean: Vec<f64>,
    var: Vec<f64>,
}

/// Added to a variance.
const EPS: f64 = 1e-6;
/// Weight of a batch in the running statistics.
const MOMENTUM: f64 = 0.1;

impl Standard {
    fn new(d: usize) -> Self {
        Self {
            mean: vec![0.0; d],
            var: vec![1.0; d],
        }
    }

    /// Standardises the columns of a batch x [n,d] by its own statistics (biased variance), and moves the running ones
    /// (unbiased variance), as PyTorch does.
    fn batch(&mut self, x: &mut [f32]) {
        let d = self.mean.len();
        let n = x.len() / d;
        let mut mean = vec![0.0; d];
        for row in x.chunks(d) {
            mean.iter_mut()
                .zip(row)
                .for_each(|(m, v)| *m += f64::from(*v));
        }
        mean.iter_mut().for_each(|m| *m /= n as f64);
        let mut square = vec![0.0; d];
        for row in x.chunks(d) {
            let both = row.iter().zip(&mean);
            let each = square.iter_mut().zip(both);
            each.for_each(|(s, (v, m))| *s += (f64::from(*v) - m).powi(2));
        }
        let scale: Vec<f64> = square
            .iter()
            .map(|s| 1.0 / (s / n as f64 + EPS).sqrt())
            .collect();
        for row in x.chunks_mut(d) {
            for ((v, m), s) in row.iter_mut().zip(&mean).zip(&scale) {
                *v = ((f64::from(*v) - m) * s) as f32;
            }
        }
        let moved = |running: &mut f64, of: f64| *running += MOMENTUM * (of - *running);
        for (i, (mean, square)) in mean.iter().zip(&square).enumerate() {
            moved(&mut self.mean[i], *mean);
            moved(&mut self.var[i], square / (n.max(2) - 1) as f64);
        }
    }

    /// The layer (w, b) on standardised features as a layer on features as they are, by the running statistics.
    fn folded(&self, w: &[f32], b: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let d = self.mean.len();
        let scale: Vec<f64> = self.var.iter().map(|v| 1.0 / (v + EPS).sqrt()).collect();
        let w64 = w
            .iter()
            .enumerate()
            .map(|(i, w)| f64::from(*w) * scale[i % d]);
        let w64: Vec<f64> = w64.collect();
        let shift = |row: &[f64]| -> f64 { row.iter().zip(&self.mean).map(|(w, m)| w * m).sum() };
        let b = b
            .iter()
            .zip(w64.chunks(d))
            .map(|(b, row)| (f64::from(*b) - shift(row)) as f32);
        let b = b.collect();
        (w64.into_iter().map(|w| w as f32).collect(), b)
    }
}

/// A compiled probe of one feature.
struct Probe {
    exec: Box<dyn Executor>,
    model: Model,
    weight: StateId,
    bias: StateId,
    grad: ProgramId,
    x: TensorId,
    y: TensorId,
    loss: TensorId,
    optimizer: Optimizer,
    standard: Option<Standard>,
    /// Length of a feature.
    d: usize,
}

impl Probe {
    fn compile(
        p: &Protocol,
        (batch, d, classes): (usize, usize, usize),
        seed: u64,
        mut exec: Box<dyn Executor>,
    ) -> Result<Self> {
        let optim = p.optim();
        let (mut g, mut model) = (Graph::new(), Model::default());
        let x = g.input("features", TensorType::f32([batch, d]));
        let y = g.input("one-hot labels", TensorType::f32([batch, classes]));
        let mut net = Net::new(&mut g, &mut model, Mode::Train);
        // LARS goes so far as the weights are long: from zero it would not move.
        let init = match p.lars {
            true => Init::Normal(0.01),
            false => Init::Constant(0.0),
        };
        let layer = Linear::classifier_from(&mut net, [classes, d], init);
        let logits = layer.call(&mut net, x)?;
        let loss = cross_entropy(&mut g, logits, y)?;
        let params: Vec<TensorId> = model
            .params
            .iter()
            .map(|p| g.state(&model.states, p.id))
            .collect();
        let grads = ops::backward(&mut g, loss, &params)?;
        let (u, optimizer) = Optimizer::graph(&optim, &mut model)?;
        optimizer::collect(&mut g, &model, &grads, Delivery::Written)?;
        exec.allocate_states(&model.states)?;
        let grad = exec.compile(&g, &[loss])?;
        let optimizer = optimizer.compile(&u, &optim, &[], &model, exec.as_mut())?;
        model.initialise(exec.as_mut(), seed)?;
        let [weight, bias] = [model.params[0].id, model.params[1].id];
        Ok(Self {
            exec,
            model,
            weight,
            bias,
            grad,
            x,
            y,
            loss,
            optimizer,
            standard: p.standardise.then(|| Standard::new(d)),
            d,
        })
    }

    /// A step on the samples `ids` of `features`.
    fn step(
        &mut self,
        features: &[f32],
        ids: &[u32],
        y: Vec<f32>,
        scalars: &StepScalars,
    ) -> Result<()> {
        let d = self.d;
        let row = |id: &u32| &features[*id as usize * d..(*id as usize + 1) * d];
        let mut x: Vec<f32> = ids.iter().flat_map(row).copied().collect();
        if let Some(standard) = &mut self.standard {
            standard.batch(&mut x);
        }
        let exec = self.exec.as_mut();
        exec.upload(self.grad, self.x, &HostData::F32(x))?;
        exec.upload(self.grad, self.y, &HostData::F32(y))?;
        exec.run(self.grad, scalars)?;
        exec.run(self.optimizer.program, scalars)?;
        Ok(())
    }

    /// Tests the trained layer.
    fn found(mut self, train: Labelled<'_>, test: Labelled<'_>) -> Result<Found> {
        let states = &self.model.states;
        let w = self.exec.read_state(states, self.weight)?.to_f32();
        let b = self.exec.read_state(states, self.bias)?.to_f32();
        let loss = self.exec.fetch(self.grad, self.loss)?.to_f64()[0];
        if !loss.is_finite() {
            return Err(DownstreamError::NonFinite(format!(
                "the probe's loss is {loss}: lower its learning rate (--lr)"
            )));
        }
        let (w, b) = match &self.standard {
            Some(standard) => standard.folded(&w, &b),
            None => (w, b),
        };
        Ok(Found::of((&w, &b), train, test, loss))
    }
}

impl Found {
    /// Tests the linear layer (w, b) of this loss.
    pub(super) fn of(
        (w, b): (&[f32], &[f32]),
        train: Labelled<'_>,
        test: Labelled<'_>,
        loss: f64,
    ) -> Self {
        Self {
            top1: top(1, test, (w, b)),
            top5: top(5, test, (w, b)),
            train_top1: top(1, train, (w, b)),
            loss,
        }
    }
}

/// Top-k accuracy of the linear layer (w, b), in percent.
fn top(k: usize, data: Labelled<'_>, (w, b): (&[f32], &[f32])) -> f64 {
    let classes = b.len();
    let d = w.len() / classes.max(1);
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

/// Makes the training features of an epoch, one set for each feature, for protocols that augment.
pub type Fresh<'a> = &'a mut dyn FnMut(usize) -> Result<Vec<Vec<f32>>>;

/// Opens the executor of a feature's probe.
pub type Open<'a> = &'a mut dyn FnMut() -> Result<Box<dyn Executor>>;

/// Trains a probe on each feature and tests it: `sets` are the training and the test images by each feature, in the
/// same order and with the same labels. The last, incomplete batch of an epoch is left out. `fresh` makes an epoch's
/// training features if the protocol augments; the training accuracy is that of `sets` in any case.
///
/// # Errors
/// No samples; a loss that is not finite; the device.
pub fn probe(
    p: &Protocol,
    sets: &[[Labelled<'_>; 2]],
    classes: usize,
    seed: u64,
    open: Open<'_>,
    fresh: Fresh<'_>,
    progress: &dyn Fn(usize, usize),
) -> Result<Vec<Found>> {
    let labels = sets.first().map_or(&[][..], |s| s[0].labels);
    let n = labels.len();
    if n == 0 || classes < 2 || p.epochs == 0 || p.batch_size == 0 {
        return Err(DownstreamError::Request(
            "a probe needs labelled samples of at least two classes, epochs and a batch".into(),
        ));
    }
    let batch = p.batch_size.min(n);
    // A batch of all images is smaller than the protocol's, and LARS's rate is so much for 256 images.
    let lr = match p.lars {
        true => p.lr * batch as f32 / p.batch_size as f32,
        false => p.lr,
    };
    let mut probes = Vec::new();
    for [train, _] in sets {
        let shape = (batch, train.features.len() / n, classes);
        probes.push(Probe::compile(p, shape, seed, open()?)?);
    }
    let mut step = 0;
    for epoch in 0..p.epochs {
        let order = sampler::permutation(n, seed, epoch as u32);
        let views = if p.augment { Some(fresh(epoch)?) } else { None };
        for (at, ids) in order.chunks_exact(batch).enumerate() {
            let mut y = vec![0.0; batch * classes];
            for (row, id) in ids.iter().enumerate() {
                y[row * classes + labels[*id as usize] as usize] = 1.0;
            }
            let scalars = StepScalars {
                step,
                lr: p.decay.rate_at(lr, (epoch, p.epochs), (at, n / batch)),
                ..StepScalars::default()
            };
            for (i, probe) in probes.iter_mut().enumerate() {
                let features = views.as_ref().map_or(sets[i][0].features, |v| &v[i]);
                probe.step(features, ids, y.clone(), &scalars)?;
            }
            step += 1;
        }
        progress(epoch + 1, p.epochs);
    }
    let tested = probes.into_iter().zip(sets);
    tested
        .map(|(probe, [train, test])| probe.found(*train, *test))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Decay;
    use super::*;
    use crate::graph::host::HostExecutor;

    const D: usize = 6;

    /// Sixty features of length 6 in three classes.
    fn data() -> (Vec<f32>, Vec<u32>) {
        let x = (0..60 * D).map(|i| ((i * 37 + i / D * 11) % 41) as f32 / 20.0 - 1.0);
        let labels = (0..60).map(|i| ((i * i + i / 7) % 3) as u32);
        (x.collect(), labels.collect())
    }

    fn plain() -> Protocol {
        Protocol {
            name: "test",
            epochs: 40,
            batch_size: 60,
            lr: 0.5,
            lars: false,
            standardise: false,
            momentum: 0.9,
            weight_decay: 1e-3,
            decay: Decay::Cosine,
            augment: false,
        }
    }

    fn host() -> Result<Box<dyn Executor>> {
        Ok(Box::new(HostExecutor::<f32>::new()))
    }

    /// A probe of each of these features that is tested on what it was trained on.
    fn probed(p: &Protocol, all: &[&[f32]], labels: &[u32], fresh: Fresh<'_>) -> Vec<Found> {
        let of = |features| Labelled { features, labels };
        let sets: Vec<_> = all.iter().map(|x| [of(x), of(x)]).collect();
        probe(p, &sets, 3, 0, &mut host, fresh, &|_, _| ()).unwrap()
    }

    /// PyTorch 2 on the same numbers: nn.Linear(6, 3) from zero, 40 full-batch steps of SGD(lr=.5,
    /// momentum=.9, weight_decay=1e-3), cosine per step. Recorded: the loss before the last update and the
    /// accuracies.
    #[test]
    fn equals_pytorchs_softmax_regression() {
        let (x, labels) = data();
        let none: Fresh<'_> = &mut |_| unreachable!("nothing is augmented");
        let found = probed(&plain(), &[&x], &labels, none)[0];
        assert!((found.loss - RECORDED.0).abs() < 2e-6, "{found:?}");
        assert!((found.top1 - RECORDED.1).abs() < 1e-9, "{found:?}");
        assert_eq!((found.top5, found.train_top1), (100.0, found.top1));
        // The control: another schedule ends elsewhere.
        let steps = Protocol {
            decay: Decay::Steps,
            ..plain()
        };
        let other = probed(&steps, &[&x], &labels, none)[0];
        assert!((other.loss - RECORDED.0).abs() > 1e-5);
        // Two features side by side: each as if it were alone.
        let turned: Vec<f32> = x.iter().rev().copied().collect();
        let both = probed(&plain(), &[&turned, &x], &labels, none);
        assert_eq!(both[1], found);
        assert_eq!(both[0], probed(&plain(), &[&turned], &labels, none)[0]);
        assert_ne!(both[0].loss, found.loss);
        // With augmentation every epoch asks for its features, once for all probes. Here it is given the same ones.
        let crops = Protocol {
            augment: true,
            ..plain()
        };
        let mut asked = Vec::new();
        let mut again = |epoch| {
            asked.push(epoch);
            Ok(vec![x.clone(), turned.clone()])
        };
        let found = probed(&crops, &[&x, &turned], &labels, &mut again);
        assert!((found[0].loss - RECORDED.0).abs() < 2e-6, "{found:?}");
        assert_eq!(found[1], both[0]);
        assert_eq!(asked, (0..40).collect::<Vec<_>>());
    }

    const RECORDED: (f64, f64) = (1.025_567_65, 40.0);

    /// MAE's protocol written out in f64: batch norm without scale and shift, LARS whose weights have a trust ratio and
    /// whose bias has none, warm-up and cosine step by step; running statistics in the test.
    fn written_out(p: &Protocol, x: &[f32], labels: &[u32], w0: &[f32]) -> (f64, f64) {
        let (n, classes) = (labels.len(), 3);
        let mut w: Vec<f64> = w0.iter().map(|v| f64::from(*v)).collect();
        let (mut b, mut mw, mut mb) = (vec![0.0; classes], vec![0.0; w.len()], vec![0.0; classes]);
        let (mut mean, mut var) = (vec![0.0; D], vec![1.0; D]);
        let mut last = 0.0;
        let Decay::Warm(warm) = p.decay else {
            panic!("another schedule")
        };
        let (batch, steps) = (p.batch_size, n / p.batch_size);
        for epoch in 0..p.epochs {
            let order = sampler::permutation(n, 0, epoch as u32);
            for (step, ids) in order.chunks_exact(batch).enumerate() {
                let e = epoch as f64 + step as f64 / steps as f64;
                let lr = f64::from(p.lr)
                    * if e < warm as f64 {
                        e / warm as f64
                    } else {
                        let t = (e - warm as f64) / (p.epochs - warm) as f64;
                        0.5 * (1.0 + (std::f64::consts::PI * t).cos())
                    };
                let value = |i: u32, j: usize| f64::from(x[i as usize * D + j]);
                let mut rows = vec![vec![0.0; D]; batch];
                for j in 0..D {
                    let m = ids.iter().map(|i| value(*i, j)).sum::<f64>() / batch as f64;
                    let s = ids.iter().map(|i| (value(*i, j) - m).powi(2)).sum::<f64>();
                    for (row, i) in rows.iter_mut().zip(ids) {
                        row[j] = (value(*i, j) - m) / (s / batch as f64 + 1e-6).sqrt();
                    }
                    mean[j] = 0.9 * mean[j] + 0.1 * m;
                    var[j] = 0.9 * var[j] + 0.1 * s / (batch - 1) as f64;
                }
                let (mut gw, mut gb) = (vec![0.0; w.len()], vec![0.0; classes]);
                last = 0.0;
                for (row, i) in rows.iter().zip(ids) {
                    let logit =
                        |c: usize| b[c] + (0..D).map(|j| w[c * D + j] * row[j]).sum::<f64>();
                    let all: Vec<f64> = (0..classes).map(logit).collect();
                    let sum: f64 = all.iter().map(|v| v.exp()).sum();
                    let own = labels[*i as usize] as usize;
                    last += (sum.ln() - all[own]) / batch as f64;
                    for c in 0..classes {
                        let d = (all[c].exp() / sum - f64::from(u8::from(c == own))) / batch as f64;
                        gb[c] += d;
                        (0..D).for_each(|j| gw[c * D + j] += d * row[j]);
                    }
                }
                let norm = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
                let trust = if p.lars {
                    1e-3 * norm(&w) / norm(&gw)
                } else {
                    1.0
                };
                for (w, (m, g)) in w.iter_mut().zip(mw.iter_mut().zip(&gw)) {
                    *m = 0.9 * *m + trust * g;
                    *w -= lr * *m;
                }
                for (b, (m, g)) in b.iter_mut().zip(mb.iter_mut().zip(&gb)) {
                    *m = 0.9 * *m + g;
                    *b -= lr * *m;
                }
            }
        }
        let hit = |i: &usize| {
            let score = |c: usize| {
                let seen = |j: usize| (f64::from(x[i * D + j]) - mean[j]) / (var[j] + 1e-6).sqrt();
                b[c] + (0..D).map(|j| w[c * D + j] * seen(j)).sum::<f64>()
            };
            let own = labels[*i] as usize;
            (0..classes).all(|c| c == own || score(c) < score(own))
        };
        (last, 100.0 * (0..n).filter(hit).count() as f64 / n as f64)
    }

    #[test]
    fn maes_protocol_equals_its_formulas() {
        let (mut x, labels) = data();
        // A dead channel and a huge one, as MAE's features have them.
        for row in x.chunks_mut(D) {
            row[0] = 0.25;
            row[1] = 300.0 + 40.0 * row[1];
        }
        let p = Protocol {
            epochs: 30,
            batch_size: 20,
            lr: 4.0,
            lars: true,
            standardise: true,
            weight_decay: 0.0,
            decay: Decay::Warm(3),
            ..plain()
        };
        let none: Fresh<'_> = &mut |_| unreachable!("nothing is augmented");
        let found = probed(&p, &[&x], &labels, none)[0];
        let start = |p: &Protocol| {
            let mut probe = Probe::compile(p, (20, D, 3), 0, host().unwrap()).unwrap();
            let states = &probe.model.states;
            probe
                .exec
                .read_state(states, probe.weight)
                .unwrap()
                .to_f32()
        };
        let w0 = start(&p);
        assert!(w0.iter().any(|w| *w != 0.0) && w0.iter().all(|w| w.abs() < 0.05));
        let (loss, top1) = written_out(&p, &x, &labels, &w0);
        // 90 steps in f32, each within some 1e-7 of the weights.
        assert!((found.loss - loss).abs() < 2e-5, "{found:?} {loss}");
        assert!((found.top1 - top1).abs() < 1e-9, "{found:?} {top1}");
        // The controls: no trust ratio, no warm-up, no standardisation.
        let mut far = |other: Protocol| {
            let found = probed(&other, &[&x], &labels, none)[0];
            assert!((found.loss - loss).abs() > 1e-3, "{other:?} {found:?}");
        };
        far(Protocol {
            lr: 0.5,
            lars: false,
            ..p
        });
        far(Protocol {
            decay: Decay::Warm(0),
            ..p
        });
        far(Protocol {
            standardise: false,
            ..p
        });
    }
}
