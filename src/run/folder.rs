//! The folder of a run and its files: configuration, metrics, TensorBoard events, log, checkpoints.

use super::checkpoint::{Position, remove_half_written, write_atomically};
use super::claim::{Aside, CHECKPOINTS, Claim, Purpose};
use super::csv;
use super::tensorboard::Events;
use super::{Result, io};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// An open run folder.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
    log: File,
    pub(super) events: Events,
    /// Files of the run that this one replaces, until it stands. They come back when the files above are closed, and
    /// before the lock is let go: fields are dropped in their order.
    replaced: Option<Aside>,
    /// Held as long as the run lives.
    _lock: Option<File>,
}

/// The tiles that the run's kernels took on a GPU.
pub const TILES: &str = "tiles.json";

/// Configuration, resolved.
pub const CONFIG: &str = "config.toml";
/// A line a record: steps, epochs, evaluations, similarities.
pub const METRICS: &str = "metrics.jsonl";
/// What was said to people.
pub const LOG: &str = "log.txt";
/// How the run ended.
pub const SUMMARY: &str = "summary.json";
/// Machine, device, memory plan.
pub const ENVIRONMENT: &str = "environment.json";
/// A picture of what the network makes of hidden patches, as of the last evaluation.
pub const RECONSTRUCTIONS: &str = "reconstructions.png";
/// A profiled step.
pub const TRACE: &str = "trace.json";
/// What the host did for the first steps.
pub const CALLS: &str = "steps.json";

/// Opens a file for appending, made when absent.
pub(super) fn append(path: &Path) -> Result<File> {
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(io(path))
}

/// Adds a line to a file of a run, made when absent.
///
/// # Errors
/// The disk.
pub fn add_line(path: &Path, text: &str) -> Result<()> {
    writeln!(append(path)?, "{text}").map_err(io(path))
}

/// The checkpoints of a run.
pub fn checkpoints(run: &Path) -> PathBuf {
    run.join(CHECKPOINTS)
}

impl RunFolder {
    /// Opens the folder (made when absent) of a run that goes on.
    ///
    /// # Errors
    /// Another process trains there; files that cannot be made.
    pub fn open(path: &Path) -> Result<Self> {
        Claim::take(path, Purpose::Resume)?.enter()
    }

    /// Opens a claimed folder for appending; `replaced` are the files of the run that this one replaces.
    pub(super) fn create(path: &Path, lock: Option<File>, replaced: Option<Aside>) -> Result<Self> {
        let checkpoints = path.join(CHECKPOINTS);
        std::fs::create_dir_all(&checkpoints).map_err(io(&checkpoints))?;
        // What a kill cut off: only who holds the lock writes here, and it is large.
        remove_half_written(&checkpoints)?;
        Ok(Self {
            metrics: append(&path.join(METRICS))?,
            log: append(&path.join(LOG))?,
            events: Events::create(path).map_err(io(path))?,
            path: path.into(),
            replaced,
            _lock: lock,
        })
    }

    /// Removes what this run replaces, once its own first checkpoint is saved. A run that is dropped before puts it
    /// back.
    ///
    /// # Errors
    /// Files that cannot be removed; the next run in this folder tries it again.
    pub fn stands(&mut self) -> Result<()> {
        self.replaced.take().map_or(Ok(()), Aside::discard)
    }

    /// Ends as a kill ends it: the lock is let go, and nothing is put in order.
    #[cfg(test)]
    pub(super) fn kill(mut self) {
        if let Some(replaced) = self.replaced.take() {
            replaced.abandon();
        }
    }

    /// Keeps the metrics up to a position: lines of steps that a resumed run will do again are dropped, and a torn last
    /// line. The table of epochs is made of what is kept.
    ///
    /// # Errors
    /// The disk.
    pub fn truncate(&mut self, at: Position) -> Result<()> {
        let path = self.path.join(METRICS);
        let bytes = std::fs::read(&path).map_err(io(&path))?;
        // A torn line need not be text.
        let text = String::from_utf8_lossy(&bytes);
        let keep: String = text
            .lines()
            .filter(|l| {
                serde_json::from_str::<Value>(l)
                    .is_ok_and(|v| v["step"].as_u64().is_some_and(|s| s <= at.step as u64))
            })
            .map(|l| format!("{l}\n"))
            .collect();
        write_atomically(&path, keep.as_bytes())?;
        // The file has been replaced: the old handle points to nothing.
        self.metrics = append(&path)?;
        let table = csv::table(&keep);
        if table.is_empty() && !self.path.join(csv::NAME).exists() {
            return Ok(());
        }
        self.write(csv::NAME, &table)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// Writes a whole file, atomically.
    ///
    /// # Errors
    /// The disk.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        write_atomically(&self.path.join(name), text.as_bytes())
    }

    /// Adds a line to the log.
    pub(super) fn log(&mut self, line: &str) -> Result<()> {
        self.log
            .write_all(format!("{line}\n").as_bytes())
            .map_err(io(self.path.join(LOG)))
    }

    /// Adds a record to the metrics, in one write.
    pub(super) fn record(&mut self, line: &str) -> Result<()> {
        self.metrics
            .write_all(format!("{line}\n").as_bytes())
            .map_err(io(self.path.join(METRICS)))
    }

    /// Adds rows to the table of epochs, below its head where the table is new, in one write.
    pub(super) fn add_rows(&mut self, rows: &str) -> Result<()> {
        let path = self.path.join(csv::NAME);
        let mut file = append(&path)?;
        let new = file.metadata().map_err(io(&path))?.len() == 0;
        let head = if new { csv::head() } else { String::new() };
        file.write_all((head + rows).as_bytes()).map_err(io(&path))
    }
}

/// The records of an interrupted run.
fn previous(folder: &Path) -> Vec<Value> {
    let bytes = std::fs::read(folder.join(METRICS)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines();
    lines.filter_map(|l| serde_json::from_str(l).ok()).collect()
}

/// The untrained accuracy that an interrupted run already measured.
pub fn previous_untrained(folder: &Path) -> Option<f64> {
    let all = previous(folder);
    let found = all.iter().find(|v| v["untrained"] == true);
    found.and_then(|v| v["knn_top1"].as_f64())
}

/// A term of the loss in the first epoch of an interrupted run, if it got so far.
pub fn previous_term(folder: &Path, name: &str) -> Option<f64> {
    let all = previous(folder);
    let found = all.iter().find(|v| v["kind"] == "epoch");
    found.and_then(|v| v["terms"][name].as_f64())
}
