//! What a run looks like: the HTML report.

mod document;
mod facts;
mod page;
pub mod pairs;
mod plot;
pub mod sweep;

pub use facts::Facts;

use crate::data::Split;
use crate::downstream::Result;
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
