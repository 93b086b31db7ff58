//! What is recorded and said when an epoch has ended.

use super::Run;
use crate::eval::spread::spread;
use crate::methods::loss::Pairs;
use crate::run::checkpoint::Position;
use crate::train::Result;
use crate::train::health::{self, Batch, Health};
use crate::train::schedule::learning_rate;
use serde_json::{Value, json};
use std::time::Instant;

impl Run<'_> {
    /// The record and the line of an epoch that has ended, with kNN when it is due.
    pub(super) fn report(&mut self, at: Position) -> Result<Option<f64>> {
        let seconds = self.clock.0.elapsed().as_secs_f64();
        let a = self.request.config.amcl.switches;
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
        let health = match batch {
            Some(batch) => Health::of(batch, negatives, score, &a),
            None => Health::without_pairs(),
        };
        let medians = health.medians();
        let scalars: Vec<(&str, f32)> = medians.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        self.folder.scalars(at.step, &scalars)?;
        let mut sorted = self.norms.clone();
        sorted.sort_by(f32::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
        // The epoch's largest: a blow-up may take a single step and leave a finite, collapsed network with small gradients.
        let epoch = self.norms.len().saturating_sub(self.summed as usize);
        let largest = self.norms[epoch..].iter().copied().fold(0.0, f32::max);
        let mut alarms = health.alarms(&a, largest, median);
        let run = &self.request.config.run;
        let (epochs, every) = (run.epochs, run.knn_every);
        let lr = learning_rate(&self.request.config, at.epoch - 1);
        let mut line = format!(
            "epoch {}/{epochs} loss {:.4} lr {lr:.4}",
            at.epoch, self.loss_sum
        );
        let medians = [
            ("sim+", 2, Some(&health.sim_pos)),
            ("sim-", 2, Some(&health.sim_neg)),
            ("tau+", 3, health.tau_pos.first()),
            ("tau-", 3, health.tau_neg.first()),
        ];
        for (name, digits, q) in medians {
            // Some methods have no negative pairs.
            if let Some(v) = q.map(|q| q[1]).filter(|v| v.is_finite()) {
                line += &format!(" {name} {v:.digits$}");
            }
        }
        let due = at.epoch == epochs || every > 0 && at.epoch.is_multiple_of(every);
        let mut accuracy = None;
        let mut eval = Value::Null;
        if due && let Some(batch) = &batch {
            self.similarities(at, batch, negatives)?;
        }
        if due && self.labelled() {
            let begin = Instant::now();
            let (v, features) = self.knn()?;
            let spread = spread(&features, self.session.feature_dim());
            alarms.extend(health::feature_alarm(spread.feature_std));
            line += &format!(" kNN {v:.1} %");
            eval = json!({
                "kind": "eval", "epoch": at.epoch, "step": at.step, "knn_top1": v, "protocol": self.protocol,
                "feature_std": spread.feature_std, "effective_rank": spread.effective_rank, "seconds": begin.elapsed().as_secs_f64(),
            });
            let values = [
                ("knn_top1", v as f32),
                ("feature_std", spread.feature_std as f32),
                ("effective_rank", spread.effective_rank as f32),
            ];
            self.folder.scalars(at.step, &values)?;
            accuracy = Some(v);
        }
        let mut record = json!({"kind": "epoch", "epoch": at.epoch, "step": at.step, "loss": self.loss_sum, "lr": lr, "alarms": alarms, "seconds": seconds});
        if let (Some(r), Ok(Value::Object(h))) =
            (record.as_object_mut(), serde_json::to_value(&health))
        {
            r.extend(h);
        }
        self.folder.record(&record)?;
        if accuracy.is_some() {
            self.folder.record(&eval)?;
        }
        self.tell(&line)?;
        self.alarms += alarms.len();
        for a in &alarms {
            self.tell(&format!("ALARM {a}"))?;
        }
        Ok(accuracy)
    }

    /// kNN accuracy in percent, and the test features.
    pub(super) fn knn(&mut self) -> Result<(f64, Vec<f32>)> {
        let progress = &mut *self.request.progress;
        self.session.knn(&self.split, &mut |done, all| {
            progress(done, all, "features for kNN");
        })
    }

    /// Records how similar the pairs of the last batch are: histograms per head and of the backbone.
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
        self.folder.record(&json!({
            "kind": "similarity", "epoch": at.epoch, "step": at.step, "range": health::RANGE, "heads": heads.histograms(negatives), "backbone": backbone,
        }))?;
        let (pos, neg) = heads.pooled(negatives);
        for (tag, values) in [("similarity/positive", pos), ("similarity/negative", neg)] {
            if !values.is_empty() {
                self.folder.histogram(at.step, tag, &values)?;
            }
        }
        Ok(())
    }
}
