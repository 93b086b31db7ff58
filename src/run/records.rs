//! What the run folder keeps of an event: lines of metrics, rows of the table, TensorBoard records, log, summary.

use super::checkpoint::write_atomically;
use super::event::{Epoch, Evaluation, Event, Histograms, Similarities, Step, Term};
use super::folder::{CALLS, RECONSTRUCTIONS, RunFolder, SUMMARY, TRACE};
use super::{Result, csv, io, profile};
use serde_json::{Value, json};

impl RunFolder {
    /// Writes down what is to be kept of an event.
    ///
    /// # Errors
    /// The disk.
    pub fn take(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Profiled { timed, .. } => self.write(TRACE, &profile::trace(timed))?,
            Event::Watched { calls, .. } => self.write(CALLS, &profile::calls(calls))?,
            Event::Views { step, side, png } => {
                let added = self.events.image(*step as u64, "views", *side, png);
                added.map_err(io(self.path()))?;
            }
            Event::Reconstructions { step, side, png } => {
                let added = self
                    .events
                    .image(*step as u64, "reconstructions", *side, png);
                added.map_err(io(self.path()))?;
                write_atomically(&self.path().join(RECONSTRUCTIONS), png)?;
            }
            Event::Step(s) => self.step(s)?,
            Event::Similarities(s) => self.similarities(s)?,
            // The others stand behind their epoch's record.
            Event::Evaluated(e) if e.untrained && !e.remembered => {
                self.record(&evaluation(e).to_string())?;
            }
            Event::Epoch(e) => self.epoch(e)?,
            Event::Finished(s) => {
                // By the names in order, as all files of a run.
                let sorted = serde_json::to_value(s).unwrap_or_default();
                self.write(SUMMARY, &format!("{sorted:#}\n"))?;
            }
            _ => {}
        }
        match event.log_line() {
            Some(line) => self.log(&line),
            None => Ok(()),
        }
    }

    fn step(&mut self, s: &Step) -> Result<()> {
        let mut record = json!({
            "kind": "step", "epoch": s.epoch, "step": s.step, "loss": s.loss, "lr": s.lr, "grad_norm": s.grad_norm,
            "images_per_s": s.images_per_s,
        });
        let mut values = vec![("lr", s.lr), ("images_per_s", s.images_per_s as f32)];
        if let Some(share) = s.waited {
            record["waited"] = json!(share);
            values.push(("waited", share as f32));
        }
        let tags = s.terms.iter().map(|(name, _)| format!("loss/{name}"));
        let tags: Vec<String> = tags.collect();
        if !s.terms.is_empty() {
            record["terms"] = by_name(&s.terms);
        }
        if let Some(scale) = s.loss_scale {
            record["loss_scale"] = json!(scale);
            record["skipped"] = json!(s.skipped);
            values.push(("loss_scale", scale));
        }
        if !s.skipped {
            values.extend([("loss", s.loss), ("grad_norm", s.grad_norm)]);
            let terms = tags.iter().zip(&s.terms);
            values.extend(terms.map(|(tag, (_, v))| (tag.as_str(), *v)));
        }
        self.record(&record.to_string())?;
        self.scalars(s.step, &values)
    }

    fn similarities(&mut self, s: &Similarities) -> Result<()> {
        let record = json!({
            "kind": "similarity", "epoch": s.at.epoch, "step": s.at.step, "range": Histograms::RANGE, "heads": s.heads,
            "backbone": s.backbone,
        });
        self.record(&record.to_string())?;
        for (tag, values) in [
            ("similarity/positive", &s.positive),
            ("similarity/negative", &s.negative),
        ] {
            if !values.is_empty() {
                let added = self.events.histogram(s.at.step as u64, tag, values);
                added.map_err(io(self.path()))?;
            }
        }
        Ok(())
    }

    /// The epoch's record, that of its evaluation, and their row in the table.
    fn epoch(&mut self, e: &Epoch) -> Result<()> {
        let alarms: Vec<String> = e.alarms.iter().map(ToString::to_string).collect();
        let mut record = json!({
            "kind": "epoch", "epoch": e.at.epoch, "step": e.at.step, "loss": e.loss, "lr": e.lr, "alarms": alarms,
            "seconds": e.seconds,
        });
        if !e.terms.is_empty() {
            record["terms"] = by_name(&e.terms);
        }
        if !e.ranks.is_empty() {
            record["ranks"] = json!(e.ranks);
        }
        if let (Some(r), Ok(Value::Object(h))) =
            (record.as_object_mut(), serde_json::to_value(&e.health))
        {
            r.extend(h);
        }
        let mut lines = record.to_string();
        let medians = e.health.medians();
        let medians: Vec<(&str, f32)> = medians.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        self.scalars(e.at.step, &medians)?;
        if let Some(e) = &e.evaluation {
            lines += &format!("\n{}", evaluation(e));
            let mut values = vec![("knn_top1", e.knn_top1 as f32)];
            if let Some(s) = &e.spread {
                values.push(("feature_std", s.feature_std as f32));
                values.push(("effective_rank", s.effective_rank as f32));
            }
            self.scalars(e.at.step, &values)?;
        }
        self.record(&lines)?;
        self.add_rows(&csv::rows(&lines))
    }

    fn scalars(&mut self, step: usize, values: &[(&str, f32)]) -> Result<()> {
        let added = self.events.scalars(step as u64, values);
        added.map_err(io(self.path()))
    }
}

/// Terms of a loss as an object.
fn by_name<T: Copy + Into<Value>>(terms: &[Term<T>]) -> Value {
    let all = terms
        .iter()
        .map(|(name, v)| (name.to_string(), (*v).into()));
    Value::Object(all.collect())
}

/// The record of an accuracy.
fn evaluation(e: &Evaluation) -> Value {
    let mut record = json!({
        "kind": "eval", "epoch": e.at.epoch, "step": e.at.step, "knn_top1": e.knn_top1, "protocol": e.protocol,
    });
    if e.untrained {
        record["untrained"] = json!(true);
    }
    if let Some(s) = &e.spread {
        record["feature_std"] = json!(s.feature_std);
        record["effective_rank"] = json!(s.effective_rank);
        record["seconds"] = json!(e.seconds);
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::spread::Spread;
    use crate::run::checkpoint::Position;
    use crate::run::event::{Alarm, Health, KnnProtocol};
    use std::path::Path;

    fn at(epoch: usize, step: usize) -> Position {
        Position {
            epoch,
            batch: 0,
            step,
        }
    }

    fn step(step: usize) -> Event {
        Event::Step(Step {
            epoch: (step - 1) / 2,
            epochs: 3,
            step,
            steps: 6,
            loss: 0.5,
            terms: vec![("contrast", 2.5), ("noise", 0.25)],
            lr: 0.1,
            grad_norm: 2.0,
            images_per_s: 10.0,
            waited: None,
            loss_scale: Some(1024.0),
            skipped: step == 2,
        })
    }

    fn epoch(epoch: usize) -> Event {
        let evaluation = Evaluation {
            at: at(epoch, 2 * epoch),
            knn_top1: 62.5,
            untrained: false,
            remembered: false,
            protocol: KnnProtocol {
                k: 5,
                t: 0.1,
                pool: None,
            },
            spread: Some(Spread {
                feature_std: 0.9,
                effective_rank: 1.0 / 3.0,
            }),
            seconds: 1.5,
        };
        Event::Epoch(Box::new(Epoch {
            at: at(epoch, 2 * epoch),
            epochs: 3,
            loss: 0.1,
            terms: vec![("contrast", 1.5), ("noise", 0.125)],
            lr: 0.1,
            seconds: 1.0 / 3.0,
            health: Health {
                sim_pos: [0.1, 0.2, 0.3],
                sim_neg: [f32::NAN; 3],
                ..Health::default()
            },
            alarms: vec![Alarm::NegativesAlike { median: 0.99 }],
            evaluation: (epoch == 2).then_some(evaluation),
            ranks: Vec::new(),
        }))
    }

    fn take(folder: &Path, events: &[Event]) {
        let mut folder = RunFolder::open(folder).unwrap();
        events.iter().for_each(|e| folder.take(e).unwrap());
    }

    fn read(folder: &Path, name: &str) -> String {
        std::fs::read_to_string(folder.join(name)).unwrap()
    }

    #[test]
    fn a_resumed_run_keeps_the_files_of_one_that_was_not_interrupted() {
        let [whole, cut] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let all: Vec<Event> = (1..=3)
            .flat_map(|e| [step(2 * e - 1), step(2 * e), epoch(e)])
            .collect();
        take(whole.path(), &all);
        // Two epochs and a step, of which the last epoch and the step will be done again.
        take(cut.path(), &all[..7]);
        let mut folder = RunFolder::open(cut.path()).unwrap();
        folder.truncate(at(1, 2)).unwrap();
        assert_eq!(read(cut.path(), csv::NAME).lines().count(), 2);
        all[3..].iter().for_each(|e| folder.take(e).unwrap());
        for name in ["metrics.jsonl", csv::NAME] {
            assert_eq!(read(cut.path(), name), read(whole.path(), name), "{name}");
        }
        let metrics = read(whole.path(), "metrics.jsonl");
        let terms: Vec<Value> = metrics
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap()["terms"].clone())
            .collect();
        assert_eq!(terms[0], json!({"contrast": 2.5, "noise": 0.25}));
        assert_eq!(terms[2], json!({"contrast": 1.5, "noise": 0.125}));
        let log = read(whole.path(), "log.txt");
        assert!(
            log.contains("loss 0.1000 (contrast 1.5000, noise 0.1250) lr"),
            "{log}"
        );
        let table = read(whole.path(), csv::NAME);
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), 4, "a head and three epochs");
        assert!(rows[2].starts_with("2,4,0.1,"), "{table}");
        assert!(rows[2].ends_with(",62.5,0.3333333333333333"), "{table}");
    }

    #[test]
    fn an_accuracy_is_recorded_once() {
        let dir = tempfile::tempdir().unwrap();
        let Event::Epoch(e) = epoch(2) else {
            unreachable!()
        };
        let measured = e.evaluation.unwrap();
        let before = Evaluation {
            untrained: true,
            spread: None,
            ..measured
        };
        let remembered = Evaluation {
            remembered: true,
            ..before
        };
        let events = [before, measured, remembered].map(Event::Evaluated);
        take(dir.path(), &events);
        take(dir.path(), &[Event::Epoch(e)]);
        let metrics = read(dir.path(), "metrics.jsonl");
        let kinds: Vec<Value> = metrics
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap()["kind"].clone())
            .collect();
        assert_eq!(kinds, ["eval", "epoch", "eval"]);
        // People read of the untrained one, measured or remembered, and of the epoch.
        let log = read(dir.path(), "log.txt");
        let told = log
            .lines()
            .filter(|l| l.starts_with("untrained 62.5 % (kNN k=5"));
        assert_eq!(told.count(), 2);
        assert!(log.ends_with("sim+ 0.20 kNN 62.5 %\n"), "{log}");
    }

    #[test]
    fn what_only_moves_a_bar_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        take(
            dir.path(),
            &[
                Event::Compiling,
                Event::Features { done: 1, all: 2 },
                step(1),
            ],
        );
        assert_eq!(read(dir.path(), "log.txt"), "");
        take(dir.path(), &[step(2)]);
        let log = read(dir.path(), "log.txt");
        assert_eq!(
            log,
            "step 2 is skipped: its gradient overflows 16 bits; the loss scale is now 1024\n"
        );
        assert_eq!(step(2).line(), None, "a terminal is not told of every one");
        assert_eq!(read(dir.path(), "metrics.jsonl").lines().count(), 2);
    }
}
