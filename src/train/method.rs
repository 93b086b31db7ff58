//! From a configuration to the method that it names, and to the model's states.

use super::{Config, Result, TrainError};
use crate::graph::{Graph, TensorType};
use crate::methods::Method;
use crate::methods::simclr::SimClr;
use crate::nn::Model;
use crate::nn::resnet::{self, ResNet, Stem};

/// The encoder that a configuration names.
///
/// # Errors
/// An unknown encoder or stem.
pub fn encoder(config: &Config) -> Result<ResNet> {
    let c = &config.model;
    let stem = match c.stem.as_str() {
        "cifar" => Stem::Small(c.stem_stride),
        "imagenet" => Stem::ImageNet,
        other => {
            return Err(TrainError::Config(format!(
                "no stem `{other}`; there are cifar, imagenet"
            )));
        }
    };
    let mut encoder =
        ResNet::named(&c.encoder, c.width * c.width_multiplier, stem).ok_or_else(|| {
            TrainError::Config(format!(
                "no encoder `{}`; there are {}",
                c.encoder,
                resnet::NAMES.join(", ")
            ))
        })?;
    encoder.zero_init_residual = c.zero_init_residual;
    Ok(encoder)
}

/// The method that a configuration names.
///
/// # Errors
/// An unknown encoder or stem.
pub fn method(config: &Config) -> Result<Box<dyn Method>> {
    Ok(Box::new(SimClr {
        encoder: encoder(config)?,
        heads: config.heads.count,
        hidden: config.heads.hidden,
        out: config.heads.out,
        amcl: config.amcl.enabled.then_some(config.amcl.switches),
        temperature: config.loss.temperature,
    }))
}

/// The states of a configuration's model (parameters, statistics), in the order in which training declares them; nothing is allocated.
///
/// # Errors
/// Shapes that do not fit.
pub fn declare(config: &Config) -> Result<Model> {
    let (mut g, mut model) = (Graph::new(), Model::default());
    let batch = config.optim.batch_size / config.optim.micro_batches;
    let size = config.model.image_size;
    let views = g.input("views", TensorType::f32([2 * batch, size, size, 3]));
    method(config)?.loss(&mut g, &mut model, views)?;
    Ok(model)
}
