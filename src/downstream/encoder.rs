//! A trained encoder in evaluation mode: features of images, by the test transform and running statistics.
//! The training step is not built, so that it needs little memory.

use super::{DownstreamError, Result};
use crate::config::Config;
use crate::config::Precision;
use crate::config::method::method;
use crate::data::Dataset;
use crate::device::Choice;
use crate::eval::attention::{Maps, Picture};
use crate::eval::features::{Embedder, Features};
use crate::eval::knn::{Bank, Vote};
use crate::graph::Executor;
use crate::methods::Method;
use crate::nn::heads::Last;
use crate::nn::import::{Named, Report, import};
use crate::nn::{Backbone, Model};
use crate::run::RunError;
use crate::run::weights;
use crate::train::session::open_executor;
use std::path::Path;

/// Images in a batch.
const BATCH: usize = 125;

/// Which features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Feature {
    /// The encoder's: what downstream tasks use.
    #[default]
    Backbone,
    /// The embeddings of a projection head, numbered from 1.
    Head(usize),
}

impl std::str::FromStr for Feature {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.strip_prefix("head:").map(str::parse) {
            _ if text == "backbone" => Ok(Self::Backbone),
            Some(Ok(n)) => Ok(Self::Head(n)),
            _ => Err(format!("`{text}` is neither backbone nor head:N")),
        }
    }
}

impl std::fmt::Display for Feature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Backbone => f.write_str("backbone features"),
            Self::Head(n) => write!(f, "embeddings of head {n}"),
        }
    }
}

/// An encoder ready to run on images of one size.
pub struct Encoder {
    exec: Box<dyn Executor>,
    features: Features,
    maps: Option<Maps>,
    /// The configuration that it was trained with.
    pub config: Config,
    /// The epoch after which its weights were saved.
    pub epoch: usize,
}

impl Encoder {
    /// The encoder of a run's newest checkpoint, for images of `side` (height, width). `tell` is given lines
    /// for people.
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
        let exec = open_executor(device, &[], Precision::F32, tell)?;
        Self::new(&found.config, &found.weights, found.at.epoch, exec, side)
    }

    /// [`Encoder::open`] of a run that was trained by this method in place of its configuration's.
    ///
    /// # Errors
    /// As [`Encoder::open`].
    pub fn of_method(
        run: &Path,
        method: &dyn Method,
        device: &Choice,
        side: (usize, usize),
        mut tell: impl FnMut(String),
    ) -> Result<Self> {
        let found = weights::of_method(run, method, &mut tell)?;
        let exec = open_executor(device, &[], Precision::F32, tell)?;
        let encoder = method.encoder();
        let wanted = (&found.config, encoder, Feature::Backbone);
        Self::build(wanted, &found.weights, found.at.epoch, exec, side)
    }

    /// An encoder of given weights.
    ///
    /// # Errors
    /// Weights that are missing or of another shape than the configuration's encoder; the device.
    pub fn new(
        config: &Config,
        weights: &Named,
        epoch: usize,
        exec: Box<dyn Executor>,
        side: (usize, usize),
    ) -> Result<Self> {
        Self::of(config, weights, epoch, exec, side, Feature::Backbone)
    }

    /// As [`Encoder::new`], of the features that are asked for.
    ///
    /// # Errors
    /// As [`Encoder::new`]; a head that is not there, or that has no features of a single image.
    pub fn of(
        config: &Config,
        weights: &Named,
        epoch: usize,
        exec: Box<dyn Executor>,
        side: (usize, usize),
        feature: Feature,
    ) -> Result<Self> {
        let encoder = config.backbone()?;
        let wanted = (config, encoder.as_ref(), feature);
        Self::build(wanted, weights, epoch, exec, side)
    }

    fn build(
        (config, encoder, feature): (&Config, &dyn Backbone, Feature),
        weights: &Named,
        epoch: usize,
        mut exec: Box<dyn Executor>,
        side: (usize, usize),
    ) -> Result<Self> {
        let mut model = Model::default();
        let (mut g, mut features) = Features::graph(
            encoder,
            &mut model,
            &config.augment,
            side,
            config.model.image_size,
            BATCH,
        )?;
        if let Feature::Head(number) = feature {
            let method = method(config)?;
            let Some(head) = method.diagnostics().map(|d| *d.projector()) else {
                return Err(DownstreamError::Request(format!(
                    "{} has no projection heads: use --feature backbone",
                    config.method.name
                )));
            };
            if head.norm || head.last != Last::Plain {
                return Err(DownstreamError::Request(format!(
                    "the heads of this {} run have batch norm over the training batch, \
                     so a single image has no head features: use --feature backbone",
                    config.method.name
                )));
            }
            if number == 0 || number > head.heads {
                return Err(DownstreamError::Request(format!(
                    "no head {number}: this run has heads 1 to {}",
                    head.heads
                )));
            }
            features = features.of_head(&mut g, &mut model, &head, number - 1)?;
        }
        let (policy, size) = (&config.augment, config.model.image_size);
        let maps = Maps::graph(encoder, &mut model, policy, side, size)?;
        exec.allocate_states(&model.states)?;
        let features = features.compile(&g, exec.as_mut())?;
        let report: Report = import(&model, exec.as_mut(), weights)?;
        if let Some(name) = report
            .missing
            .first()
            .or(report.mismatched.first().map(|m| &m.0))
        {
            return Err(RunError::Checkpoint(format!(
                "the checkpoint has no fitting `{name}` for this encoder"
            ))
            .into());
        }
        Ok(Self {
            exec,
            features,
            maps,
            config: config.clone(),
            epoch,
        })
    }

    /// Features of views that are cropped and mirrored anew every epoch.
    ///
    /// # Errors
    /// As [`Encoder::features`].
    pub fn cropped(&mut self, data: &Dataset, seed: u64, epoch: u32) -> Result<Vec<f32>> {
        let policy = super::probe::crops(&self.config.augment);
        let drawn = (&policy, seed, epoch);
        let exec = self.exec.as_mut();
        Ok(self.features.of_views(exec, data, drawn, &mut |_, _| ())?)
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
        Ok(self.features.of(self.exec.as_mut(), data, progress)?)
    }

    /// All classes for each of `queries` [q,dim], the likeliest first ([q,classes]), by its nearest
    /// neighbours in `bank`.
    ///
    /// # Errors
    /// An empty bank; memory, device loss.
    pub fn neighbours(
        &mut self,
        queries: &[f32],
        bank: Bank<'_>,
        classes: usize,
        vote: Vote,
    ) -> Result<Vec<u32>> {
        Ok(self.rank(queries, bank, classes, vote)?)
    }
}

impl Embedder for Encoder {
    fn dim(&self) -> usize {
        self.features.dim
    }

    fn parts(&mut self) -> (Features, &mut dyn Executor) {
        (self.features, self.exec.as_mut())
    }

    fn attention(&mut self, data: &Dataset) -> crate::graph::Result<Option<Picture>> {
        let maps = self.maps.as_ref();
        maps.map(|m| m.picture(self.exec.as_mut(), data))
            .transpose()
    }
}
