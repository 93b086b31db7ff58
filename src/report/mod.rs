//! What a run looks like: the HTML report.

mod attention;
mod compare;
mod document;
mod facts;
mod headline;
mod heads;
mod page;
pub mod pairs;
mod plot;
mod ranks;
pub mod sweep;

pub use facts::Facts;

use crate::data::Split;
use crate::downstream::{DownstreamError, Result};
use crate::eval::features::Embedder;
use crate::run::checkpoint::write_atomically;
use std::path::{Path, PathBuf};

/// Writes `report.html` of a run from its files: curves, temperatures, similarities, alarms, configuration.
/// The page reloads itself while the run is under way. With an encoder and its data it also shows views,
/// neighbours, a projection and the confusion matrix. The encoder is one that was read back, or the session of a
/// training that has just ended ([`Trainer::at_end`](crate::train::Trainer::at_end)).
///
/// # Errors
/// No run there; a folder that cannot be written.
pub fn write(run: &Path, trained: Option<(&mut dyn Embedder, &Split)>) -> Result<PathBuf> {
    let mut facts = Facts::read(run)?;
    if let Some((encoder, split)) = trained {
        facts.inspect(encoder, split)?;
    }
    save(run, &facts)
}

fn save(run: &Path, facts: &Facts) -> Result<PathBuf> {
    let path = run.join("report.html");
    write_atomically(&path, page::html(facts).as_bytes())?;
    Ok(path)
}

/// Where the page of several runs goes by default: into the folder that holds the first.
pub fn comparison_of(runs: &[PathBuf]) -> PathBuf {
    let first = runs.first().map_or(Path::new(""), PathBuf::as_path);
    let whole = std::fs::canonicalize(first).unwrap_or_else(|_| first.into());
    // `runs/a` gives `runs/`, not an absolute path; `.` has its parent by its absolute one.
    let named = first.parent().filter(|_| first.file_name().is_some());
    let folder = named.or(whole.parent()).unwrap_or(Path::new(""));
    folder.join("comparison.html")
}

/// Writes a page of several runs, from their files: final numbers, the settings that differ, curves over each other,
/// and links to the runs' own reports. A page of this program at `out` is replaced; another file only with
/// `overwrite`.
///
/// # Errors
/// No run there; something else at `out`; a folder that cannot be written.
pub fn compare(runs: &[PathBuf], out: &Path, overwrite: bool) -> Result<()> {
    if !overwrite && out.exists() && !document::is_ours(out) {
        return Err(DownstreamError::Request(format!(
            "{} is there and no page of this program; choose another --out, or replace it with --overwrite",
            out.display()
        )));
    }
    let facts = runs.iter().map(|r| Facts::read(r));
    let facts = facts.collect::<Result<Vec<Facts>>>()?;
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty());
    let from = std::fs::canonicalize(parent.unwrap_or(Path::new(".")));
    let names = compare::names(&facts);
    let all = facts
        .into_iter()
        .zip(names)
        .zip(runs)
        .map(|((facts, name), run)| {
            let own = std::fs::canonicalize(run.join("report.html")).ok();
            let way = own
                .zip(from.as_ref().ok())
                .map(|(to, from)| compare::way(from, &to));
            let link = way.map(|w| w.to_string_lossy().into_owned());
            compare::Run { facts, name, link }
        });
    let page = compare::html(&all.collect::<Vec<_>>());
    Ok(write_atomically(out, page.as_bytes())?)
}

/// The page of a run under way. It is written again and again; of the run's records each time only those are read that
/// are new.
pub struct Page {
    run: PathBuf,
    facts: Option<Facts>,
}

impl Page {
    /// The page of the run in a folder, which need not be there yet.
    pub fn of(run: &Path) -> Self {
        Self {
            run: run.into(),
            facts: None,
        }
    }

    /// Writes `report.html` as the run stands now.
    ///
    /// # Errors
    /// As [`write`].
    pub fn write(&mut self) -> Result<PathBuf> {
        let facts = match self.facts.take() {
            Some(facts) => facts.refreshed(&self.run)?,
            None => Facts::read(&self.run)?,
        };
        save(&self.run, self.facts.insert(facts))
    }
}
