//! Fine-tuning: encoder and a new linear classifier trained together on labelled images, all or a share of them.

mod network;
mod settings;

pub use settings::{FinetuneSettings, Optimiser, Pooling, RECIPES, known_recipe};

use super::probe::cross_entropy;
use super::{DownstreamError, Result};
use crate::config::Config;
use crate::data::ahead::{Ahead, TRAINING};
use crate::data::augment::{Policy, Sides};
use crate::data::{Dataset, mixing, rand_augment, sampler};
use crate::graph::{Executor, Graph, HostData, ProgramId, StepScalars, TensorId, TensorType};
use crate::nn::import::{Named, import};
use crate::nn::{Mode, Model, Part};
use crate::ops;
use crate::ops::drop_path;
use crate::reference::philox::{Purpose, Stream};
use crate::run::RunError;
use crate::train::optimizer::{self, Delivery, Optimizer};
use crate::train::schedule::learning_rate;
use network::{BRANCHES, Built, Plan};

/// What is drawn for a batch, as its step takes it.
struct Drawn<'a> {
    plan: &'a Plan<'a>,
    built: &'a Built,
    policy: Policy,
}

impl Drawn<'_> {
    /// Sends what is drawn for the samples `ids`, the batch number `batch` of an epoch, and returns their labels as
    /// distributions. All but the mixing depends on seed, epoch and sample alone.
    fn send(
        &self,
        exec: &mut dyn Executor,
        program: ProgramId,
        (ids, sides, labels): (&[u32], Sides<'_>, &[u32]),
        (epoch, batch): (u32, u32),
    ) -> Result<Vec<f32>> {
        let (s, b) = (self.plan.settings, self.built);
        let size = self.plan.config.model.image_size;
        let of = |id: u32, purpose| Stream::new(s.seed, epoch, id, purpose);
        let mut upload = |id: TensorId, values| exec.upload(program, id, &HostData::F32(values));
        let rows = self.policy.views(1, sides, ids, size, (s.seed, epoch));
        upload(b.views, rows)?;
        if let Some(factors) = b.dropped {
            upload(factors, self.branches(ids, epoch))?;
        }
        if let Some(table) = b.operations {
            let rows = ids.iter().flat_map(|id| {
                rand_augment::draw(s.randaugment, size, &mut of(*id, Purpose::RandAugment))
            });
            upload(table, rows.collect())?;
        }
        if let Some(e) = &b.erasing {
            let boxes = ids.iter().flat_map(|id| {
                let found = mixing::erased(s.erase, size, &mut of(*id, Purpose::Erase));
                let [top, left, height, width] = found.unwrap_or_default().map(|v| v as f32);
                [1.0, top, left, height, width]
            });
            upload(e.boxes, boxes.collect())?;
            upload(e.levels, vec![1.0; ids.len()])?;
            let words = ids
                .iter()
                .flat_map(|id| of(*id, Purpose::ErasedPixels).words());
            exec.upload(program, e.words, &HostData::U32(words.collect()))?;
        }
        let mut share = 1.0;
        if let Some(table) = b.mixing {
            let mixed = s.mixing().draw(size, &mut of(batch, Purpose::Mix));
            share = mixed.share;
            let rows = HostData::F32(mixed.row.repeat(ids.len()));
            exec.upload(program, table, &rows)?;
        }
        let classes = self.plan.classes;
        Ok(mixing::soft_labels(labels, classes, s.smoothing, share))
    }

    /// Factors of the residual branches [branches,batch]: none is left out in the first block, and most are in the
    /// last.
    fn branches(&self, ids: &[u32], epoch: u32) -> Vec<f32> {
        let (s, n) = (self.plan.settings, ids.len());
        let branches = self
            .built
            .dropped
            .map_or(0, |_| BRANCHES * self.plan.blocks());
        let mut out = vec![0.0; branches * n];
        let last = (branches / BRANCHES).saturating_sub(1).max(1);
        for (image, id) in ids.iter().enumerate() {
            let mut stream = Stream::new(s.seed, epoch, *id, Purpose::Drop);
            for branch in 0..branches {
                let rate = f64::from(s.drop_path) * (branch / BRANCHES) as f64 / last as f64;
                out[branch * n + image] = drop_path::factors(rate, [stream.uniform()])[0];
            }
        }
        out
    }
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
    s.check().map_err(DownstreamError::Request)?;
    let side = (train.height, train.width);
    let plan = Plan {
        config,
        settings: s,
        side,
        batch,
        classes,
    };
    let (mut g, mut model) = (Graph::new(), Model::default());
    let built = plan.build(&mut g, &mut model, Mode::Train)?;
    let y = g.input("labels", TensorType::f32([batch, classes]));
    let loss = cross_entropy(&mut g, built.logits, y)?;
    let params: Vec<TensorId> = model
        .params
        .iter()
        .map(|p| g.state(&model.states, p.id))
        .collect();
    let grads = ops::backward(&mut g, loss, &params)?;
    let own = s.configured(config, batch);
    let scales = own.optim.layer_scales(config.backbone()?.as_ref())?;
    let (u, optimizer) = Optimizer::graph(&own.optim, &mut model)?;
    optimizer::collect(&mut g, &model, &grads, Delivery::Written)?;
    let mut e = Graph::new();
    let eval = plan.build(&mut e, &mut model, Mode::Eval)?;
    exec.allocate_states(&model.states)?;
    let step_program = exec.compile(&g, &[loss])?;
    let optimizer = optimizer.compile(&u, &own.optim, &scales, &model, exec)?;
    let eval_program = exec.compile(&e, &[eval.logits])?;
    model.initialise(exec, s.seed)?;
    let report = import(&model, exec, weights)?;
    let new = model.variables().filter(|v| v.part == Part::Classifier);
    let classifier: Vec<&String> = new.map(|v| &v.name).collect();
    if let Some(name) = report.missing.iter().find(|n| !classifier.contains(n)) {
        return Err(RunError::Checkpoint(format!(
            "the checkpoint has no fitting `{name}` for this encoder"
        ))
        .into());
    }

    let drawn = Drawn {
        plan: &plan,
        built: &built,
        policy: s.policy(config),
    };
    let steps = ids.len() / batch;
    let batches = {
        let (ids, seed) = (ids.to_vec(), s.seed);
        move |epoch: usize| -> Vec<Vec<u32>> {
            let order = sampler::permutation(ids.len(), seed, epoch as u32);
            let of = |part: &[u32]| part.iter().map(|i| ids[*i as usize] as u32).collect();
            order.chunks_exact(batch).map(of).collect()
        }
    };
    let coming = (0..s.epochs).flat_map(batches.clone());
    let mut ahead = Ahead::new(train, coming, batch, TRAINING)?;
    let mut step = 0;
    for epoch in 0..s.epochs {
        for (number, chosen) in batches(epoch).into_iter().enumerate() {
            let labels: Vec<u32> = chosen.iter().map(|i| train.labels[*i as usize]).collect();
            if let Some(ahead) = &mut ahead {
                ahead.next(&chosen, &mut |_| ())?;
            }
            let mut x = Ahead::or(ahead.as_ref(), train).packed(&chosen)?;
            x.upload(exec, step_program, built.images)?;
            let at = (epoch as u32, number as u32);
            let sides = Sides::Each(&x.sides);
            let labels = drawn.send(exec, step_program, (&chosen, sides, &labels), at)?;
            Ahead::or(ahead.as_ref(), train).done(x);
            exec.upload(step_program, y, &HostData::F32(labels))?;
            let lr = learning_rate(&own, epoch, number as f64 / steps as f64);
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
    accuracy(&plan, exec, (eval_program, &eval), test)
}

/// Accuracy on the images of `test`, percent.
fn accuracy(
    plan: &Plan<'_>,
    exec: &mut dyn Executor,
    (program, built): (ProgramId, &Built),
    test: &Dataset,
) -> Result<f64> {
    let batch = plan.batch;
    let mut hits = 0;
    let all: Vec<u32> = (0..test.len() as u32).collect();
    let mut ahead = Ahead::in_order(test, 0..test.len(), batch)?;
    for part in all.chunks(batch) {
        if let Some(ahead) = &mut ahead {
            ahead.next(part, &mut |_| ())?;
        }
        let mut x = Ahead::or(ahead.as_ref(), test).packed(part)?;
        x.fill(batch);
        x.upload(exec, program, built.images)?;
        let rows = plan.config.augment.plain(x.sides.as_slice(), batch);
        exec.upload(program, built.views, &HostData::F32(rows))?;
        Ahead::or(ahead.as_ref(), test).done(x);
        exec.run(program, &StepScalars::default())?;
        let out = exec.fetch(program, built.logits)?.to_f32();
        for (row, id) in out.chunks(plan.classes).zip(part) {
            let best = (0..plan.classes).max_by(|a, b| row[*a].total_cmp(&row[*b]));
            hits += usize::from(best == Some(test.labels[*id as usize] as usize));
        }
    }
    Ok(100.0 * hits as f64 / test.len().max(1) as f64)
}

#[cfg(test)]
mod tests;
