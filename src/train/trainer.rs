//! The training loop and the run folder.

use super::checkpoint::{self, Position, write_atomically};
use super::events::Events;
use super::health::Health;
use super::session::{Session, open_executor};
use super::{Config, Result, TrainError, io};
use crate::data::{self, sampler};
use crate::device::Choice;
use crate::graph::StepScalars;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What to run and where.
pub struct Request<'a> {
    /// Configuration.
    pub config: Config,
    /// Device.
    pub device: Choice,
    /// Run folder.
    pub out: PathBuf,
    /// Continue the run that is there.
    pub resume: bool,
    /// Set when the user wants to stop: the run saves and ends.
    pub stop: &'a AtomicBool,
    /// Told every line for people.
    pub tell: &'a mut dyn FnMut(&str),
    /// Told the progress of an epoch: steps done, steps in all, a short text.
    pub progress: &'a mut dyn FnMut(usize, usize, &str),
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// kNN accuracy before training, percent.
    pub untrained: f64,
    /// kNN accuracy at the end, percent; none when interrupted.
    pub trained: Option<f64>,
    /// Seconds.
    pub seconds: f64,
    /// SHA-256 of the parameters.
    pub weights: String,
}

/// Learning rate of an epoch: linear warm-up, then cosine to zero (per epoch, as the recipe has it).
pub fn learning_rate(c: &Config, epoch: usize) -> f32 {
    let warm = c.schedule.warmup_epochs;
    if epoch < warm {
        return c.optim.lr * (epoch + 1) as f32 / warm as f32;
    }
    let t = (epoch - warm) as f64 / (c.run.epochs - warm).max(1) as f64;
    (f64::from(c.optim.lr) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos())) as f32
}

/// Appends one JSON line, whole or not at all as far as the system allows.
fn append(file: &mut std::fs::File, path: &Path, record: &serde_json::Value) -> Result<()> {
    file.write_all(format!("{record}\n").as_bytes())
        .map_err(io(path))
}

/// Keeps the metrics up to a position: lines of steps that a resumed run will do again are dropped, and a torn last line.
fn truncate_metrics(path: &Path, at: Position) -> Result<()> {
    let Ok(text) = std::fs::read_to_string(path) else {
        return Ok(());
    };
    let keep: String = text
        .lines()
        .filter(|l| {
            serde_json::from_str::<serde_json::Value>(l)
                .is_ok_and(|v| v["step"].as_u64().is_some_and(|s| s <= at.step as u64))
        })
        .map(|l| format!("{l}\n"))
        .collect();
    write_atomically(path, keep.as_bytes())
}

/// Trains, or continues a run.
///
/// # Errors
/// See [`TrainError`]; whatever happens, the last good checkpoint stays.
pub fn train(r: Request<'_>) -> Result<Outcome> {
    let begin = Instant::now();
    let c = &r.config;
    let (checkpoints, metrics_path) = (r.out.join("checkpoints"), r.out.join("metrics.jsonl"));
    if !r.resume {
        let taken = std::fs::read_dir(&r.out).is_ok_and(|mut d| d.next().is_some());
        if taken {
            return Err(TrainError::Config(format!(
                "{} already holds something; choose another --out, or continue that run with --resume {}",
                r.out.display(),
                r.out.display()
            )));
        }
    }
    let split = data::open(
        &c.data.path,
        c.run.seed,
        (c.data.shapes_train, c.data.shapes_test),
    )?;
    (r.tell)(&format!("data: {}", split.description));
    let steps = split.train.len() / c.optim.batch_size;
    if steps == 0 {
        return Err(TrainError::Config(format!(
            "optim.batch_size {} exceeds the {} training images",
            c.optim.batch_size,
            split.train.len()
        )));
    }
    let mut notes = Vec::new();
    let exec = open_executor(&r.device, |n| notes.push(n))?;
    notes.iter().for_each(|n| (r.tell)(n));
    (r.tell)(&format!("device: {}", exec.name()));
    let mut session = Session::new(c, exec)?;
    (r.tell)(&format!("model: {} parameters", session.model.sizes().1));
    session.memory_report().lines().for_each(|l| (r.tell)(l));
    std::fs::create_dir_all(&checkpoints).map_err(io(&checkpoints))?;
    let resolved = c.to_toml()?;
    let mut at = Position::default();
    if r.resume {
        at = checkpoint::load_latest(
            &checkpoints,
            session.exec.as_mut(),
            &session.model.states,
            |w| (r.tell)(&w),
        )?;
        truncate_metrics(&metrics_path, at)?;
        (r.tell)(&format!(
            "resuming at epoch {}, batch {}",
            at.epoch, at.batch
        ));
    } else {
        write_atomically(&r.out.join("config.toml"), resolved.as_bytes())?;
    }
    let mut metrics = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&metrics_path)
        .map_err(io(&metrics_path))?;
    let mut events = Events::create(&r.out).map_err(io(&r.out))?;
    let protocol = format!(
        "kNN k={} t={} cosine, backbone features, test transform, running statistics",
        c.run.knn_k.min(split.train.len()),
        c.run.knn_t
    );
    let untrained = match previous_untrained(&metrics_path) {
        Some(v) if r.resume => v,
        _ => {
            let v = session.knn(&split)?;
            append(
                &mut metrics,
                &metrics_path,
                &json!({"kind": "eval", "epoch": 0, "step": 0, "knn_top1": v, "untrained": true, "protocol": protocol}),
            )?;
            v
        }
    };
    (r.tell)(&format!("untrained {untrained:.1} % ({protocol})"));
    let save = |s: &mut Session, at| {
        checkpoint::save(
            &checkpoints,
            s.exec.as_mut(),
            &s.model.states,
            at,
            &resolved,
        )
    };
    if !r.resume {
        save(&mut session, at)?;
    }
    let mut norms: Vec<f32> = Vec::new();
    let mut last = None;
    let seed = c.run.seed;
    while at.epoch < c.run.epochs {
        let order = sampler::permutation(split.train.len(), seed, at.epoch as u32);
        let lr = learning_rate(c, at.epoch);
        let (started, first, mut sum) = (Instant::now(), at.batch, 0.0f64);
        while at.batch < steps {
            let ids = &order[at.batch * c.optim.batch_size..(at.batch + 1) * c.optim.batch_size];
            let warm = at.epoch < c.amcl.switches.warmup_epochs;
            let scalars = StepScalars {
                seed_lo: seed as u32,
                seed_hi: (seed >> 32) as u32,
                epoch: at.epoch as u32,
                step: at.step as u32,
                flags: if warm { StepScalars::WARMUP } else { 0 },
                lr,
                ..StepScalars::default()
            };
            let (loss, norm2) = session.step(&split.train, ids, scalars)?;
            if !(loss.is_finite() && norm2.is_finite()) {
                let why = session.explain_non_finite(&scalars)?;
                return Err(TrainError::NonFinite(format!(
                    "step {}: loss {loss}, squared gradient norm {norm2}: {why}. The last good checkpoint is in {}",
                    at.step,
                    checkpoints.display()
                )));
            }
            at.batch += 1;
            at.step += 1;
            sum += f64::from(loss);
            let norm = norm2.sqrt();
            norms.push(norm);
            let rate =
                ((at.batch - first) * c.optim.batch_size) as f64 / started.elapsed().as_secs_f64();
            append(
                &mut metrics,
                &metrics_path,
                &json!({"kind": "step", "epoch": at.epoch, "step": at.step, "loss": loss, "lr": lr, "grad_norm": norm, "images_per_s": rate}),
            )?;
            let scalars = [
                ("loss", loss),
                ("lr", lr),
                ("grad_norm", norm),
                ("images_per_s", rate as f32),
            ];
            events
                .scalars(at.step as u64, &scalars)
                .map_err(io(&r.out))?;
            (r.progress)(
                at.batch,
                steps,
                &format!("epoch {} loss {loss:.4} {rate:.0} images/s", at.epoch + 1),
            );
            if r.stop.load(Ordering::Relaxed) {
                save(&mut session, at)?;
                (r.tell)(&format!(
                    "stopped at epoch {}, batch {}; continue with: amcl-wgpu train --resume {}",
                    at.epoch,
                    at.batch,
                    r.out.display()
                ));
                let weights =
                    checkpoint::weights_hash(session.exec.as_mut(), &session.model.states)?;
                return Ok(Outcome {
                    untrained,
                    trained: None,
                    seconds: begin.elapsed().as_secs_f64(),
                    weights,
                });
            }
        }
        let (s, score, n) = session.pairs()?;
        let health = Health::of(&s, score.as_deref(), n, &c.amcl.switches);
        let mut sorted = norms.clone();
        sorted.sort_by(f32::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
        let alarms = health.alarms(
            &c.amcl.switches,
            norms.last().copied().unwrap_or(0.0),
            median,
        );
        alarms.iter().for_each(|a| (r.tell)(&format!("ALARM {a}")));
        at = Position {
            epoch: at.epoch + 1,
            batch: 0,
            step: at.step,
        };
        let mean = sum / (steps - first).max(1) as f64;
        let mut record = json!({"kind": "epoch", "epoch": at.epoch, "step": at.step, "loss": mean, "lr": lr, "alarms": alarms, "seconds": started.elapsed().as_secs_f64()});
        if let (Some(r), Ok(serde_json::Value::Object(h))) =
            (record.as_object_mut(), serde_json::to_value(&health))
        {
            r.extend(h);
        }
        append(&mut metrics, &metrics_path, &record)?;
        let done = at.epoch == c.run.epochs;
        let mut line = format!(
            "epoch {}/{} loss {mean:.4} lr {lr:.4} sim+ {:.2} sim- {:.2}",
            at.epoch, c.run.epochs, health.sim_pos[1], health.sim_neg[1]
        );
        if let (Some(p), Some(n)) = (health.tau_pos.first(), health.tau_neg.first()) {
            line += &format!(" tau+ {:.3} tau- {:.3}", p[1], n[1]);
        }
        if done || c.run.knn_every > 0 && at.epoch % c.run.knn_every == 0 {
            let v = session.knn(&split)?;
            events
                .scalars(at.step as u64, &[("knn_top1", v as f32)])
                .map_err(io(&r.out))?;
            last = Some(v);
            line += &format!(" kNN {v:.1} %");
            append(
                &mut metrics,
                &metrics_path,
                &json!({"kind": "eval", "epoch": at.epoch, "step": at.step, "knn_top1": v, "protocol": protocol}),
            )?;
        }
        (r.tell)(&line);
        if done || at.epoch % c.run.checkpoint_every.max(1) == 0 {
            save(&mut session, at)?;
        }
    }
    let trained = match last {
        Some(v) => v,
        None => session.knn(&split)?,
    };
    let weights = checkpoint::weights_hash(session.exec.as_mut(), &session.model.states)?;
    let seconds = begin.elapsed().as_secs_f64();
    let summary = json!({
        "knn_top1": trained, "knn_top1_untrained": untrained, "protocol": protocol, "epochs": c.run.epochs, "steps": at.step, "seconds": seconds,
        "adapter": session.exec.name(), "planned_bytes": session.planned_bytes(), "allocated_bytes": session.exec.allocated_bytes(),
        "weights_sha256": weights, "version": env!("CARGO_PKG_VERSION"),
    });
    write_atomically(
        &r.out.join("summary.json"),
        format!("{summary:#}\n").as_bytes(),
    )?;
    Ok(Outcome {
        untrained,
        trained: Some(trained),
        seconds,
        weights,
    })
}

/// The untrained accuracy that an interrupted run already measured.
fn previous_untrained(path: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines()
        .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
        .find(|v| v["untrained"] == true)
        .and_then(|v| v["knn_top1"].as_f64())
}
