//! The folder of a run: who may write there, and its files (configuration, metrics, TensorBoard events, log,
//! checkpoints).

use super::checkpoint::{Position, WRITING, remove_half_written, write_atomically};
use super::csv;
use super::tensorboard::Events;
use super::{Result, RunError, io};
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
    /// Held as long as the run lives; the system lets go of it when the process ends, however it ends.
    _lock: File,
}

/// Takes the folder for this process.
fn lock(path: &Path) -> Result<File> {
    let file = path.join(LOCK);
    let f = append(&file)?;
    match f.try_lock() {
        Ok(()) => Ok(f),
        Err(std::fs::TryLockError::WouldBlock) => Err(RunError::Config(format!(
            "another process is training into {}; choose another --out, or wait for its end",
            path.display()
        ))),
        // Some network file systems have no locks: the run goes on without.
        Err(std::fs::TryLockError::Error(_)) => Ok(f),
    }
}

/// Name of the file that is locked.
const LOCK: &str = ".lock";

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
/// A profiled step.
pub const TRACE: &str = "trace.json";

/// What a run writes, besides event files: all that `--overwrite` removes.
const OURS: &[&str] = &[
    CONFIG,
    METRICS,
    LOG,
    csv::NAME,
    SUMMARY,
    ENVIRONMENT,
    "report.html",
    TRACE,
    "checkpoints",
    TILES,
    LOCK,
];

/// Is it the name of something that a run writes?
fn ours(name: &str) -> bool {
    let begins = ["events.out.tfevents.", "eval-", WRITING];
    OURS.contains(&name) || begins.iter().any(|b| name.starts_with(b))
}

/// Checks that a new run may use the folder; with `overwrite` removes what an earlier run left there, and nothing else.
///
/// # Errors
/// The folder holds something (then nothing is removed), another process trains there, or files cannot be removed.
pub fn claim(path: &Path, overwrite: bool) -> Result<()> {
    let p = path.display();
    let found: Vec<PathBuf> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    if !overwrite {
        return Err(RunError::Config(format!(
            "{p} already holds something; choose another --out, continue that run with --resume {p}, or \
             replace it with --overwrite"
        )));
    }
    let name = |f: &Path| {
        f.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    if let Some(f) = found.iter().find(|f| !ours(&name(f))) {
        return Err(RunError::Config(format!(
            "{p} already holds something that no run writes, `{}`: move it away or choose another --out",
            name(f)
        )));
    }
    // Not under the hands of a run that goes on.
    if path.join(LOCK).exists() {
        drop(lock(path)?);
    }
    for f in &found {
        let gone = if f.is_dir() {
            std::fs::remove_dir_all(f)
        } else {
            std::fs::remove_file(f)
        };
        match gone {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(f)(e)),
            _ => {}
        }
    }
    Ok(())
}

fn append(path: &Path) -> Result<File> {
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(io(path))
}

impl RunFolder {
    /// Opens the folder (made when absent) for appending.
    ///
    /// # Errors
    /// Files that cannot be made.
    pub fn open(path: &Path) -> Result<Self> {
        let checkpoints = path.join("checkpoints");
        std::fs::create_dir_all(&checkpoints).map_err(io(&checkpoints))?;
        let lock = lock(path)?;
        // What a kill cut off: only who holds the lock writes here, and it is large.
        remove_half_written(&checkpoints)?;
        Ok(Self {
            _lock: lock,
            metrics: append(&path.join(METRICS))?,
            log: append(&path.join(LOG))?,
            events: Events::create(path).map_err(io(path))?,
            path: path.into(),
        })
    }

    /// Keeps the metrics up to a position: lines of steps that a resumed run will do again are dropped, and a torn last
    /// line. The table of epochs is made of what is kept.
    ///
    /// # Errors
    /// The disk.
    pub fn truncate(&mut self, at: Position) -> Result<()> {
        let path = self.path.join(METRICS);
        let text = std::fs::read_to_string(&path).map_err(io(&path))?;
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
        self.path.join("checkpoints")
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

/// The untrained accuracy that an interrupted run already measured.
pub fn previous_untrained(folder: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(folder.join(METRICS)).ok()?;
    text.lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok())
        .find(|v| v["untrained"] == true)
        .and_then(|v| v["knn_top1"].as_f64())
}
