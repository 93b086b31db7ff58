//! A trained encoder alone: backbone features of images, with the test transform and running statistics. No heads, no training step, so little memory.

use super::features::Features;
use super::method::encoder;
use super::session::open_executor;
use super::weights::{self, Named};
use super::{Config, Result, TrainError};
use crate::data::Dataset;
use crate::device::Choice;
use crate::graph::Executor;
use crate::nn::Model;
use crate::nn::import::{Report, import};
use std::path::Path;

/// Images at once.
const BATCH: usize = 125;

/// An encoder ready to run on images of one size.
pub struct Encoder {
    exec: Box<dyn Executor>,
    features: Features,
    /// The configuration that it was trained with.
    pub config: Config,
    /// The epoch after which its weights were saved.
    pub epoch: usize,
}

impl Encoder {
    /// The encoder of a run's newest checkpoint, for images of `side` (height, width); `tell` gets lines for people.
    ///
    /// # Errors
    /// No run there, no usable checkpoint, no such device.
    pub fn open(
        run: &Path,
        device: &Choice,
        side: (usize, usize),
        mut tell: impl FnMut(String),
    ) -> Result<Self> {
        let found = weights::of_run(run, &mut tell)?;
        let exec = open_executor(device, &[], tell)?;
        Self::new(&found.config, &found.weights, found.at.epoch, exec, side)
    }

    /// An encoder of given weights.
    ///
    /// # Errors
    /// Weights that the configuration's encoder lacks; shapes; the device.
    pub fn new(
        config: &Config,
        weights: &Named,
        epoch: usize,
        mut exec: Box<dyn Executor>,
        side: (usize, usize),
    ) -> Result<Self> {
        let mut model = Model::default();
        let (g, features) = Features::graph(
            &encoder(config)?,
            &mut model,
            &config.augment,
            side,
            config.model.image_size,
            BATCH,
        )?;
        exec.allocate_states(&model.states)?;
        let features = features.compile(&g, exec.as_mut())?;
        let report: Report = import(&model, exec.as_mut(), weights)?;
        if let Some(name) = report
            .missing
            .first()
            .or(report.mismatched.first().map(|m| &m.0))
        {
            return Err(TrainError::Checkpoint(format!(
                "the checkpoint has no fitting `{name}` for this encoder"
            )));
        }
        Ok(Self {
            exec,
            features,
            config: config.clone(),
            epoch,
        })
    }

    /// Length of a feature.
    pub fn dim(&self) -> usize {
        self.features.dim
    }

    /// The device's name.
    pub fn device(&self) -> String {
        self.exec.name()
    }

    /// Features [n,dim] of all images.
    ///
    /// # Errors
    /// Images of another size than the encoder was opened for; device loss.
    pub fn features(
        &mut self,
        data: &Dataset,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>> {
        self.features.of(self.exec.as_mut(), data, progress)
    }
}
