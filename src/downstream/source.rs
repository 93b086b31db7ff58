//! A run's encoder and the data that it is evaluated on.

use super::encoder::{Encoder, Feature};
use super::{DownstreamError, Notice, Result, Tell, progress};
use crate::config::Precision;
use crate::data::Split;
use crate::device::Choice;
use crate::run::environment::DataRecord;
use crate::run::weights::{self, Trained};
use crate::train::session::open_executor;
use std::path::{Path, PathBuf};

/// Which run's encoder, on which data, on which device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The run's folder.
    pub run: PathBuf,
    /// The data. None: those that the run was trained on.
    pub data: Option<String>,
    /// The device.
    pub device: Choice,
    /// More devices, which share the images with it when features are made.
    pub others: Vec<Choice>,
}

/// Tells how a run's own data differ from those that it was trained on.
fn said_of(record: &DataRecord, split: &Split, tell: Tell<'_>) {
    if let Some(changed) = record.changed(split) {
        tell(Notice::Warning(&format!(
            "data: they have changed since the run was trained: {changed}"
        )));
    }
    if let Some(last) = record.changes.last() {
        tell(Notice::Warning(&format!(
            "data: they changed while the run was trained ({last}): its parts were trained on different data"
        )));
    }
}

impl Source {
    /// Reads the run's newest weights and opens the data. The configuration that comes back names the data
    /// that were opened.
    ///
    /// # Errors
    /// No such run or data, no usable checkpoint.
    pub fn read(&self, tell: Tell<'_>) -> Result<(Trained, Split)> {
        let mut trained = weights::of_run(&self.run, |w| tell(Notice::Warning(&w)))?;
        if let Some(data) = &self.data {
            trained.config.data.path = data.clone();
        }
        let cache = &mut trained.config.data.cache;
        if self.data.is_some() {
            cache.clear();
        } else if !cache.is_empty() && !Path::new(&cache).exists() {
            tell(Notice::Warning(&format!(
                "data: there is no packed copy at {cache}; the files themselves are read"
            )));
            cache.clear();
        }
        let record = DataRecord::read(&self.run);
        let named = trained.config.data.path.clone();
        if let Some(record) = record.as_ref().filter(|_| self.data.is_none()) {
            trained.config.data.path = record.place(&named).into();
        }
        let path = &trained.config.data.path;
        if *path != named && self.data.is_none() {
            tell(Notice::Warning(&format!(
                "data: there is nothing at {named}; taken from where the run found them, {path}"
            )));
        }
        let decoding = |done, all| progress(tell, done, all, "decoding images");
        let split = trained.config.open_data(&decoding)?;
        tell(Notice::Line(&format!("data: {}", split.description)));
        for w in &split.warnings {
            tell(Notice::Warning(&format!("data: {w}")));
        }
        if let Some(record) = record.filter(|_| self.data.is_none()) {
            said_of(&record, &split, tell);
        }
        Ok((trained, split))
    }

    /// As [`Source::read`], for a protocol that needs labels and test images.
    ///
    /// # Errors
    /// As [`Source::read`]; data without labels or without test images.
    pub fn read_labelled(&self, tell: Tell<'_>) -> Result<(Trained, Split)> {
        let (trained, split) = self.read(tell)?;
        if let Some(why) = split.unmeasured() {
            return Err(DownstreamError::Request(format!(
                "this protocol needs labels of several classes and test images: a folder a class, or a labelled data \
                 set; {why}"
            )));
        }
        Ok((trained, split))
    }

    /// The run's encoder, ready for images of the data's size on the device, with the features that are asked for;
    /// none: all that it has.
    ///
    /// # Errors
    /// No such device; a feature or a head that is not there.
    pub fn encoder(
        &self,
        trained: &Trained,
        split: &Split,
        features: &[Feature],
        tell: Tell<'_>,
    ) -> Result<Encoder> {
        let side = (split.train.height, split.train.width);
        let (config, epoch) = (&trained.config, trained.at.epoch);
        let on = |device: &Choice| {
            let exec = open_executor(device, &[], Precision::F32, |l| tell(Notice::Line(&l)))?;
            Encoder::of(config, &trained.weights, epoch, exec, side, features)
        };
        let others = self.others.iter().map(on).collect::<Result<Vec<_>>>()?;
        Ok(on(&self.device)?.beside(others))
    }
}
