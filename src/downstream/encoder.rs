//! A trained encoder in evaluation mode: features of images, by the test transform and running statistics.
//! The training step is not built, so that it needs little memory.

use super::{DownstreamError, Result};
use crate::config::Config;
use crate::config::Precision;
use crate::config::method::method;
use crate::data::Dataset;
use crate::device::Choice;
use crate::eval::attention::{self, Maps, Picture};
use crate::eval::features::{Drawn, Embedder, Features, Shape};
use crate::eval::knn::{Bank, Vote};
use crate::graph::{Executor, GraphError};
use crate::methods::Method;
use crate::nn::backbones::Pool;
use crate::nn::heads::{Last, Mlp};
use crate::nn::import::{Named, Report, import};
use crate::nn::{Backbone, Model};
use crate::run::RunError;
use crate::run::weights;
use crate::train::session::open_executor;
use std::path::Path;

/// Images in a batch.
const BATCH: usize = 125;

/// Which feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Feature {
    /// The encoder's pooled one: what downstream tasks use.
    #[default]
    Backbone,
    /// One that is read from the tokens of a Vision Transformer, behind its last norm.
    Read(Pool),
    /// The embeddings of a projection head, numbered from 1.
    Head(usize),
}

impl std::str::FromStr for Feature {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "backbone" || text == "pooled" {
            return Ok(Self::Backbone);
        }
        if let Some(pool) = Pool::ALL.into_iter().find(|p| p.name() == text) {
            return Ok(Self::Read(pool));
        }
        match text.strip_prefix("head:").map(str::parse) {
            Some(Ok(n)) => Ok(Self::Head(n)),
            _ => Err(format!(
                "`{text}` is no feature; there are pooled, head:N, and of Vision Transformers {}",
                Pool::ALL.map(Pool::name).join(", ")
            )),
        }
    }
}

impl std::fmt::Display for Feature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Backbone => f.write_str("backbone features"),
            Self::Read(pool) => write!(f, "{pool}"),
            Self::Head(n) => write!(f, "embeddings of head {n}"),
        }
    }
}

impl Feature {
    /// Its name in results: that of the flag.
    pub fn name(self) -> String {
        match self {
            Self::Backbone => "backbone".into(),
            Self::Read(pool) => pool.name().into(),
            Self::Head(n) => format!("head:{n}"),
        }
    }

    /// The features that are measured where `asked` are asked for; none: all that the encoder has. The pooled feature
    /// of a Vision Transformer becomes the one that it is, so that results say which.
    ///
    /// # Errors
    /// A feature that the encoder does not have; a head among others.
    pub fn of(encoder: &dyn Backbone, asked: &[Self]) -> Result<Vec<Self>> {
        let own = encoder.vit().map(|v| v.pool);
        let all: Vec<Self> = match own {
            None => vec![Self::Backbone],
            Some(_) => Pool::ALL.map(Self::Read).into(),
        };
        let mut out = Vec::new();
        for feature in if asked.is_empty() { &all } else { asked } {
            let found = match (feature, own) {
                (Self::Backbone, Some(pool)) => Self::Read(pool),
                (Self::Read(pool), None) => {
                    return Err(DownstreamError::Request(format!(
                        "--feature {}: this encoder is no Vision Transformer, so it has no tokens; use --feature \
                         pooled",
                        pool.name()
                    )));
                }
                (Self::Head(_), _) if asked.len() > 1 => {
                    return Err(DownstreamError::Request(format!(
                        "--feature {} goes by itself: its embeddings are of another length",
                        feature.name()
                    )));
                }
                _ => *feature,
            };
            if !out.contains(&found) {
                out.push(found);
            }
        }
        Ok(out)
    }

    /// Several features in words.
    pub fn list(features: &[Self]) -> String {
        let all: Vec<String> = features.iter().map(Self::to_string).collect();
        all.join(" and ")
    }
}

/// An encoder ready to run on images of one size.
pub struct Encoder {
    exec: Box<dyn Executor>,
    extractor: Features,
    /// The same on other devices, which share the images with this one.
    others: Vec<(Features, Box<dyn Executor>)>,
    /// The features that it makes of an image, all of one length.
    pub made: Vec<Feature>,
    /// Which of them the encoder was trained to have: the pooled one. The first where that is not among them.
    pub main: usize,
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
        let wanted = (&found.config, encoder, &[Feature::Backbone][..]);
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
        Self::of(config, weights, epoch, exec, side, &[Feature::Backbone])
    }

    /// As [`Encoder::new`], of the features that are asked for; none: all that the encoder has ([`Feature::of`]).
    ///
    /// # Errors
    /// As [`Encoder::new`] and [`Feature::of`]; a head that is not there, or that has no features of a single image.
    pub fn of(
        config: &Config,
        weights: &Named,
        epoch: usize,
        exec: Box<dyn Executor>,
        side: (usize, usize),
        features: &[Feature],
    ) -> Result<Self> {
        let encoder = config.backbone()?;
        let wanted = (config, encoder.as_ref(), features);
        Self::build(wanted, weights, epoch, exec, side)
    }

    fn build(
        (config, encoder, asked): (&Config, &dyn Backbone, &[Feature]),
        weights: &Named,
        epoch: usize,
        mut exec: Box<dyn Executor>,
        side: (usize, usize),
    ) -> Result<Self> {
        let mut model = Model::default();
        let made = Feature::of(encoder, asked)?;
        let pools = made.iter().filter_map(|f| match f {
            Feature::Read(pool) => Some(*pool),
            _ => None,
        });
        let shape = Shape {
            side,
            size: config.model.image_size,
            batch: BATCH,
        };
        let pools: Vec<Pool> = pools.collect();
        let (mut g, mut extractor) =
            Features::graph(encoder, &mut model, &config.augment, shape, &pools)?;
        if let Some(Feature::Head(number)) = made.first() {
            let head = head(config, *number)?;
            extractor = extractor.of_head(&mut g, &mut model, &head, number - 1)?;
        }
        let (policy, size) = (&config.augment, config.model.image_size);
        let maps = Maps::graph(encoder, &mut model, policy, side, size, attention::IMAGES)?;
        exec.allocate_states(&model.states)?;
        let extractor = extractor.compile(&g, exec.as_mut())?;
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
            extractor,
            others: Vec::new(),
            main: {
                let pooled = encoder.vit().map(|v| Feature::Read(v.pool));
                let at = made.iter().position(|f| Some(*f) == pooled);
                at.unwrap_or(0)
            },
            made,
            maps,
            config: config.clone(),
            epoch,
        })
    }

    /// The same encoder on other devices shares the images with this one: each has an equal run of them.
    pub fn beside(mut self, others: impl IntoIterator<Item = Self>) -> Self {
        let parts = others.into_iter().map(|e| (e.extractor, e.exec));
        self.others.extend(parts);
        self
    }

    /// All features of all images, or of views of them, by all devices.
    fn through(
        &mut self,
        data: &Dataset,
        views: Option<Drawn<'_>>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> crate::graph::Result<Vec<Vec<f32>>> {
        let (devices, n) = (self.others.len() + 1, data.len());
        let part = |i: usize| n * i / devices..n * (i + 1) / devices;
        let exec = self.exec.as_mut();
        if devices == 1 {
            return self
                .extractor
                .of_part(exec, (data, part(0)), views, progress);
        }
        std::thread::scope(|s| {
            let others = self.others.iter_mut().enumerate();
            let others: Vec<_> = others
                .map(|(i, (extractor, exec))| {
                    let images = (data, part(i + 1));
                    s.spawn(move || extractor.of_part(exec.as_mut(), images, views, &mut |_, _| ()))
                })
                .collect();
            let mut said = |done: usize, all: usize| progress(done * n / all.max(1), n);
            let images = (data, part(0));
            let mut made = self.extractor.of_part(exec, images, views, &mut said)?;
            for other in others {
                let panicked = |_| GraphError::Invalid("a device's thread panicked".into());
                let more = other.join().map_err(panicked)??;
                for (all, more) in made.iter_mut().zip(more) {
                    all.extend(more);
                }
            }
            Ok(made)
        })
    }

    /// Each of the encoder's features of views that are cropped and mirrored anew every epoch.
    ///
    /// # Errors
    /// As [`Encoder::features`].
    pub fn cropped(&mut self, data: &Dataset, seed: u64, epoch: u32) -> Result<Vec<Vec<f32>>> {
        let policy = super::probe::crops(&self.config.augment);
        let drawn = Some((&policy, seed, epoch));
        Ok(self.through(data, drawn, &mut |_, _| ())?)
    }

    /// Length of a feature.
    pub fn dim(&self) -> usize {
        self.extractor.dim
    }

    /// The device's name.
    pub fn device(&self) -> String {
        self.exec.name()
    }

    /// The first of the features that the encoder makes, [n,dim], of all images.
    ///
    /// # Errors
    /// Images of another size than the encoder was opened for; device loss.
    pub fn features(
        &mut self,
        data: &Dataset,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>> {
        Ok(self.through(data, None, progress)?.swap_remove(0))
    }

    /// Each of the features that the encoder makes, [n,dim], of all images, from one pass over them.
    ///
    /// # Errors
    /// As [`Encoder::features`].
    pub fn each(
        &mut self,
        data: &Dataset,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Vec<f32>>> {
        Ok(self.through(data, None, progress)?)
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
        self.extractor.dim
    }

    fn parts(&mut self) -> (Features, &mut dyn Executor) {
        (self.extractor.clone(), self.exec.as_mut())
    }

    fn embed(&mut self, data: &Dataset) -> crate::graph::Result<Vec<f32>> {
        Ok(self.through(data, None, &mut |_, _| ())?.swap_remove(0))
    }

    fn attention(&mut self, data: &Dataset) -> crate::graph::Result<Option<Picture>> {
        let maps = self.maps.as_ref();
        maps.map(|m| m.picture(self.exec.as_mut(), data))
            .transpose()
    }
}

/// The projector of a configuration's method, whose head `number` has features of a single image.
fn head(config: &Config, number: usize) -> Result<Mlp> {
    let name = &config.method.name;
    let request = |why: String| Err(DownstreamError::Request(why));
    let method = method(config)?;
    let Some(head) = method.diagnostics().map(|d| *d.projector()) else {
        return request(format!(
            "{name} has no projection heads: use --feature pooled"
        ));
    };
    if head.norm || head.last != Last::Plain {
        return request(format!(
            "the heads of this {name} run have batch norm over the training batch, so a single image has no head \
             features: use --feature pooled"
        ));
    }
    if number == 0 || number > head.heads {
        return request(format!(
            "no head {number}: this run has heads 1 to {}",
            head.heads
        ));
    }
    Ok(head)
}
