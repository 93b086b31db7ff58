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
use crate::downstream::encoder::Encoder;
use crate::run::checkpoint::write_atomically;
use std::path::{Path, PathBuf};

/// Writes `report.html` of a run from its files: curves, temperatures, similarities, alarms, configuration.
/// The page reloads itself while the run is under way. With an encoder and its data it also shows views,
/// neighbours, a projection and the confusion matrix.
///
/// # Errors
/// No run there; a folder that cannot be written.
pub fn write(run: &Path, trained: Option<(&mut Encoder, &Split)>) -> Result<PathBuf> {
    let mut facts = Facts::read(run)?;
    if let Some((encoder, split)) = trained {
        facts.inspect(encoder, split)?;
    }
    let path = run.join("report.html");
    write_atomically(&path, page::html(&facts).as_bytes())?;
    Ok(path)
}
