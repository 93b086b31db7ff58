//! What is measured when an epoch has ended.

use super::run::Run;
use crate::config::method;
use crate::eval::spread::spread;
use crate::graph::host::HostExecutor;
use crate::methods::loss::{Pairs, RECONSTRUCTION};
use crate::nn::import;
use crate::run::checkpoint::Position;
use crate::run::event::{Alarm, Epoch, Evaluation, Event, Health, Similarities};
use crate::train::health::{self, Batch};
use crate::train::schedule::learning_rate;
use crate::train::{Result, reconstruction};
use std::time::Instant;

impl Run<'_> {
    /// Ends an epoch: statistics of its last batch, alarms, and, where they are due, histograms of similarities and the
    /// kNN accuracy, which it returns.
    pub(super) fn close(&mut self, at: Position) -> Result<Option<f64>> {
        let seconds = self.progress.begin.elapsed().as_secs_f64();
        let ranks = self.rank_times(seconds)?;
        if !self.job.world.is_first() {
            // The first rank tells of the run; accuracies are measured by all.
            let due = self.due(at.epoch) && self.labelled();
            return due.then(|| Ok(self.knn()?.0)).transpose();
        }
        let a = self.job.config.amcl.switches;
        let pairs = self.session.pairs()?;
        let batch = pairs.as_ref().map(|p| Batch {
            values: &p.similarity,
            rows: p.head[0],
            columns: p.head[1],
            pairs: p.which,
        });
        let negatives = self.session.negatives()?;
        let negatives = negatives.as_deref();
        let score = pairs.as_ref().and_then(|p| p.score.as_deref());
        let mut health = match batch {
            Some(batch) => Health::of(batch, negatives, score, &a),
            None => Health::without_pairs(),
        };
        [health.head_cka, health.head_gradient_cka] = self.session.heads_alike()?;
        let (largest, median) = self.gradient_norms();
        let mut alarms = health.alarms(&a, largest, median);
        let c = &self.job.config;
        let warm = at.epoch <= a.warmup_epochs;
        let live = !c.amcl.enabled || !a.can_die() || warm;
        alarms.extend(self.dead.count(&health, live));
        alarms.extend(self.alike.count(&health, &a));
        let due = self.due(at.epoch);
        let mut evaluation = None;
        if due && let Some(batch) = &batch {
            self.similarities(at, batch, negatives)?;
        }
        if due && self.labelled() {
            let measured = self.evaluate(at)?;
            let std = measured.spread.map(|s| s.feature_std);
            alarms.extend(std.and_then(health::feature_alarm));
            evaluation = Some(measured);
            self.stream.emit(Event::Evaluated(measured))?;
        }
        if due {
            self.reconstructions(at)?;
        }
        let (loss, terms) = self.progress.mean();
        let reconstruction = terms.iter().find(|t| t.0 == RECONSTRUCTION);
        if let Some((_, now)) = reconstruction {
            let first = *self.first.get_or_insert(*now);
            let warmup = self.job.config.schedule.warmup_epochs;
            alarms.extend(health::standstill(first, *now, (at.epoch, warmup)));
        }
        self.tell(Epoch {
            at,
            epochs: self.job.config.run.epochs,
            loss,
            terms,
            lr: learning_rate(&self.job.config, at.epoch - 1, self.last_share()),
            seconds,
            health,
            alarms,
            evaluation,
            ranks,
        })?;
        Ok(evaluation.map(|e| e.knn_top1))
    }

    fn tell(&mut self, epoch: Epoch) -> Result<()> {
        let alarms: Vec<Alarm> = epoch.alarms.clone();
        self.alarms += alarms.len();
        self.stream.emit(Event::Epoch(Box::new(epoch)))?;
        for alarm in alarms {
            self.stream.emit(Event::Alarm(alarm))?;
        }
        Ok(())
    }

    /// Is the accuracy measured after this epoch?
    fn due(&self, epoch: usize) -> bool {
        let run = &self.job.config.run;
        epoch == run.epochs || run.knn_every > 0 && epoch.is_multiple_of(run.knn_every)
    }

    /// The epoch's largest gradient norm, and the run's median. The largest, since a blow-up may take a single step and
    /// leave a finite, collapsed network with small gradients.
    fn gradient_norms(&self) -> (f32, f32) {
        let mut sorted = self.norms.clone();
        sorted.sort_by(f32::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
        let before = self.norms.len().saturating_sub(self.progress.steps);
        let largest = self.norms[before..].iter().copied().fold(0.0, f32::max);
        (largest, median)
    }

    /// kNN accuracy, and how the test features fill their space.
    fn evaluate(&mut self, at: Position) -> Result<Evaluation> {
        let begin = Instant::now();
        let (knn_top1, features) = self.knn()?;
        Ok(Evaluation {
            at,
            knn_top1,
            untrained: false,
            remembered: false,
            protocol: self.protocol,
            spread: Some(spread(&features, self.session.feature_dim())),
            seconds: begin.elapsed().as_secs_f64(),
        })
    }

    /// Shows what the network makes of hidden patches, where it predicts them: made on the host, with the epoch's
    /// masks, as the views are.
    fn reconstructions(&mut self, at: Position) -> Result<()> {
        let config = &self.job.config;
        let named;
        let method = match &self.job.method {
            Some(own) => own.as_ref(),
            None => {
                named = method::method(config)?;
                named.as_ref()
            }
        };
        if method.reconstructs().is_none() {
            return Ok(());
        }
        let s = &mut self.session;
        let weights = import::export(&s.model, s.exec.as_mut())?;
        let made = reconstruction::pictures(
            config,
            method,
            (Some(&weights), at.epoch as u32 - 1),
            (&self.split.train, reconstruction::SHOWN),
            &mut HostExecutor::<f32>::new(),
        )?;
        let Some(pictures) = made else {
            return Ok(());
        };
        self.stream.emit(Event::Reconstructions {
            step: at.step,
            side: pictures.image.dimensions(),
            png: pictures.png()?,
        })
    }

    /// Tells how similar the pairs of the last batch are: histograms per head and of the backbone.
    fn similarities(
        &mut self,
        at: Position,
        heads: &Batch<'_>,
        negatives: Option<&[Vec<f32>]>,
    ) -> Result<()> {
        let backbone = self.session.backbone_pairs()?.map(|(values, n)| {
            Batch {
                values: &values,
                rows: n,
                columns: n,
                pairs: Pairs::Views,
            }
            .histograms(None)
            .remove(0)
        });
        let (positive, negative) = heads.pooled(negatives);
        self.stream.emit(Event::Similarities(Similarities {
            at,
            heads: heads.histograms(negatives),
            backbone,
            positive,
            negative,
        }))
    }
}
