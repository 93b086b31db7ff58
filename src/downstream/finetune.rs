//! Fine-tuning: encoder and a new linear classifier trained together on labelled images, all or a share of them.

use super::probe::{Decay, crops, crops_in_words, cross_entropy, sgd, training_in_words};
use super::{DownstreamError, Result};
use crate::config::{BATCH, Config, Optim, RATE, WEIGHT_DECAY};
use crate::data::augment::Policy;
use crate::data::{Dataset, packed, sampler};
use crate::graph::{Executor, Graph, HostData, StepScalars, TensorId, TensorType};
use crate::nn::import::{Named, import};
use crate::nn::layers::Linear;
use crate::nn::{Mode, Model, Net, Part};
use crate::ops;
use crate::ops::augment::{Augment, words};
use crate::reference::augment::ROW;
use crate::run::RunError;
use crate::settings::{SEED, between};
use crate::train::optimizer::{self, Delivery, Optimizer};

/// How the learning rate decays.
const DECAY: Decay = Decay::Cosine;

crate::section! {
    /// How to fine-tune. Momentum is 0.9, the rate decays along a cosine, images are cropped and mirrored ([`crops`]).
    #[derive(Copy)]
    FinetuneSettings {
        /// Epochs.
        epochs: usize = 30 => between(1.0, 1e6),
        /// Images a step.
        batch_size: usize = 128 => BATCH,
        /// Learning rate.
        lr: f32 = 0.05 => RATE,
        /// Weight decay.
        weight_decay: f32 = 0.0 => WEIGHT_DECAY,
        /// Seed of order and crops.
        seed: u64 = 0 => SEED,
    }
}

impl FinetuneSettings {
    fn optim(&self) -> Optim {
        sgd(self.lr, 0.9, self.weight_decay, self.batch_size)
    }

    /// The protocol in words.
    pub fn describe(&self) -> String {
        format!(
            "fine-tuning: all weights and a linear classifier, {}, {}; test transform, running statistics, last epoch",
            crops_in_words(),
            training_in_words(&self.optim(), DECAY, self.epochs)
        )
    }
}

/// Appends images -> logits. Batch norm uses the batch's statistics if `train`, else the running ones.
/// Returns images, views, logits.
fn logits(
    config: &Config,
    g: &mut Graph,
    m: &mut Model,
    (side, rows, classes): ((usize, usize), usize, usize),
    mode: Mode,
) -> Result<[TensorId; 3]> {
    let images = g.input("images", TensorType::u32([rows, words(side.0, side.1)]));
    let table = g.input("views", TensorType::f32([rows, ROW]));
    let op = Augment {
        height: side.0,
        width: side.1,
        size: config.model.image_size,
        blur: false,
        mean: config.augment.mean,
        std: config.augment.std,
    };
    let x = g.push1(op, &[images, table])?;
    let encoder = config.backbone()?;
    let mut net = Net::new(g, m, mode);
    let f = encoder.layers(&mut net).call(&mut net, x)?.pooled;
    let classifier = Linear::classifier(&mut net, [classes, encoder.width()]);
    Ok([images, table, classifier.call(&mut net, f)?])
}

/// Fine-tunes an encoder on the images `ids` of `train` and returns its accuracy on `test` in percent.
///
/// # Errors
/// No images; weights that do not fit; the device.
#[allow(clippy::too_many_arguments, reason = "the facts of one experiment")]
pub fn finetune(
    config: &Config,
    weights: &Named,
    s: &FinetuneSettings,
    (train, ids): (&Dataset, &[usize]),
    test: &Dataset,
    classes: usize,
    exec: &mut dyn Executor,
    progress: &dyn Fn(usize, usize),
) -> Result<f64> {
    let batch = s.batch_size.min(ids.len());
    if batch < 2 || classes < 2 || s.epochs == 0 {
        return Err(DownstreamError::Request(
            "fine-tuning needs at least two labelled images, two classes and an epoch".into(),
        ));
    }
    let side = (train.height, train.width);
    let (mut g, mut model) = (Graph::new(), Model::default());
    let [images, table, out] = logits(
        config,
        &mut g,
        &mut model,
        (side, batch, classes),
        Mode::Train,
    )?;
    let y = g.input("one-hot labels", TensorType::f32([batch, classes]));
    let loss = cross_entropy(&mut g, out, y)?;
    let params: Vec<TensorId> = model
        .params
        .iter()
        .map(|p| g.state(&model.states, p.id))
        .collect();
    let grads = ops::backward(&mut g, loss, &params)?;
    let mut own = config.clone();
    own.optim = s.optim();
    let (u, optimizer) = Optimizer::graph(&own.optim, &mut model)?;
    optimizer::collect(&mut g, &model, &grads, Delivery::Written)?;
    let mut e = Graph::new();
    let seen = (side, batch, classes);
    let [eval_images, eval_table, eval_out] = logits(config, &mut e, &mut model, seen, Mode::Eval)?;
    exec.allocate_states(&model.states)?;
    let step_program = exec.compile(&g, &[loss])?;
    let optimizer = optimizer.compile(&u, &own.optim, &[], &model, exec)?;
    let eval_program = exec.compile(&e, &[eval_out])?;
    model.initialise(exec, s.seed)?;
    let report = import(&model, exec, weights)?;
    let own = model.variables().filter(|v| v.part == Part::Classifier);
    let classifier: Vec<&String> = own.map(|v| &v.name).collect();
    if let Some(name) = report.missing.iter().find(|n| !classifier.contains(n)) {
        return Err(RunError::Checkpoint(format!(
            "the checkpoint has no fitting `{name}` for this encoder"
        ))
        .into());
    }

    let policy = crops(&config.augment);
    let mut step = 0;
    for epoch in 0..s.epochs {
        let lr = DECAY.rate(s.lr, epoch as f64 / s.epochs as f64);
        let order = sampler::permutation(ids.len(), s.seed, epoch as u32);
        for part in order.chunks_exact(batch) {
            let chosen: Vec<u32> = part.iter().map(|i| ids[*i as usize] as u32).collect();
            let rows =
                policy.two_views(side, &chosen, config.model.image_size, s.seed, epoch as u32);
            let mut labels = vec![0.0; batch * classes];
            for (row, id) in chosen.iter().enumerate() {
                labels[row * classes + train.labels[*id as usize] as usize] = 1.0;
            }
            let first = HostData::F32(rows[..batch * ROW].to_vec());
            exec.upload(
                step_program,
                images,
                &HostData::U32(packed::pack(train, &chosen)),
            )?;
            exec.upload(step_program, table, &first)?;
            exec.upload(step_program, y, &HostData::F32(labels))?;
            let scalars = StepScalars {
                step,
                epoch: epoch as u32,
                lr,
                ..StepScalars::default()
            };
            exec.run(step_program, &scalars)?;
            exec.run(optimizer.program, &scalars)?;
            step += 1;
        }
        progress(epoch + 1, s.epochs);
    }
    let last = exec.fetch(step_program, loss)?.to_f64()[0];
    if !last.is_finite() {
        return Err(DownstreamError::NonFinite(format!(
            "the loss of fine-tuning is {last}: lower its learning rate (--lr)"
        )));
    }
    exec.upload(
        eval_program,
        eval_table,
        &HostData::F32(Policy::plain(side, batch)),
    )?;
    let mut hits = 0;
    let all: Vec<u32> = (0..test.len() as u32).collect();
    for part in all.chunks(batch) {
        let mut x = packed::pack(test, part);
        x.resize(batch * words(side.0, side.1), 0);
        exec.upload(eval_program, eval_images, &HostData::U32(x))?;
        exec.run(eval_program, &StepScalars::default())?;
        let out = exec.fetch(eval_program, eval_out)?.to_f32();
        for (row, id) in out.chunks(classes).zip(part) {
            let best = (0..classes).max_by(|a, b| row[*a].total_cmp(&row[*b]));
            hits += usize::from(best == Some(test.labels[*id as usize] as usize));
        }
    }
    Ok(100.0 * hits as f64 / test.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shapes;
    use crate::graph::host::HostExecutor;
    use crate::nn::import::export;

    /// A narrow network learns ten classes of shapes from random weights. The control: with a rate of zero it
    /// answers as the zero classifier does.
    #[test]
    fn learns_from_labels() {
        let split = shapes::generate(3, 320, 200);
        let mut config = Config::default();
        config.model.settings.insert("width".into(), 8.into());
        config.model.settings.insert("stem_stride".into(), 2.into());
        let mut model = Model::default();
        let mut g = Graph::new();
        logits(&config, &mut g, &mut model, ((32, 32), 2, 10), Mode::Eval).unwrap();
        let mut exec = HostExecutor::<f32>::new();
        exec.allocate_states(&model.states).unwrap();
        model.initialise(&mut exec, 1).unwrap();
        let mut weights = export(&model, &mut exec).unwrap();
        weights.retain(|n, _| !n.starts_with("fc."));
        let ids: Vec<usize> = (0..split.train.len()).collect();
        let run = |config: &Config, lr| {
            let s = FinetuneSettings {
                epochs: 8,
                batch_size: 32,
                lr,
                weight_decay: 0.0,
                seed: 0,
            };
            let data = (&split.train, &ids[..]);
            let exec = &mut HostExecutor::<f32>::new();
            finetune(
                config,
                &weights,
                &s,
                data,
                &split.test,
                10,
                exec,
                &|_, _| (),
            )
            .unwrap()
        };
        let (learned, idle) = (run(&config, 0.05), run(&config, 1e-12));
        assert!(learned > idle + 10.0 && learned > 20.0, "{learned} {idle}");
        // The run's own augmentation and optimiser have no part in fine-tuning.
        config.augment.min_scale = 1.0;
        config.augment.hf_prob = 1.0;
        config.augment.solarization_prob = [1.0; 2];
        config.optim.clip = 1e-3;
        config.optim.name = "adamw".into();
        assert_eq!(run(&config, 0.05), learned);
        // The control: the normalisation is the run's.
        config.augment.std = [1.0; 3];
        assert_ne!(run(&config, 0.05), learned);
    }

    #[test]
    fn the_protocol_says_what_is_done() {
        let s = FinetuneSettings {
            epochs: 7,
            batch_size: 48,
            lr: 0.03,
            weight_decay: 1e-4,
            seed: 0,
        };
        let (said, o) = (s.describe(), s.optim());
        assert_eq!(o.clip, 0.0);
        let sgd = format!(
            "SGD lr {} momentum {} wd {}, no clipping, cosine, 7 epochs, batch {} ",
            o.lr, o.momentum, o.weight_decay, o.batch_size
        );
        assert!(said.contains(&sgd), "{said}");
        let scale = crops(&Policy::default()).min_scale;
        assert!(said.contains(&format!("crops ({scale} to 1)")), "{said}");
        assert_eq!(DECAY.rate(0.5, 0.5), 0.25);
    }
}
