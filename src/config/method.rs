//! From a configuration to the method that it names, and to the model's variables.

use super::{Config, ConfigError, Result};
use crate::graph::{Graph, GraphError, TensorType};
use crate::methods::{Batch, Method, SplitLoss};
use crate::nn::{Mode, Model, Net};

/// The method that a configuration names.
///
/// # Errors
/// Settings that cannot be.
pub fn method(config: &Config) -> Result<Box<dyn Method>> {
    config.check()?;
    (config.spec()?.build)(&config.recipe(), config.backbone()?).map_err(ConfigError)
}

/// Is the loss computed without matrices of all pairs?
pub fn streams(config: &Config) -> bool {
    let spec = config.spec().ok();
    spec.is_some_and(|s| s.streams(&config.recipe()).unwrap_or(false))
}

/// The embed/loss split of a method where the configuration caches gradients.
pub fn cached<'a>(config: &Config, method: &'a dyn Method) -> Option<&'a dyn SplitLoss> {
    config
        .has_micro_batches()
        .then(|| coupled(config, method))
        .flatten()
}

/// The embed/loss split of a method where a batch of several parts, micro-batches or ranks, has one loss.
pub fn coupled<'a>(config: &Config, method: &'a dyn Method) -> Option<&'a dyn SplitLoss> {
    (config.parts() > 1 && config.optim.gradient_cache)
        .then(|| method.split())
        .flatten()
}

/// The shapes of a configuration's network do not fit each other.
fn shapes(e: GraphError) -> ConfigError {
    ConfigError(e.to_string())
}

/// The variables of a configuration's model, in the order in which training declares them; nothing is allocated.
///
/// # Errors
/// Shapes that do not fit.
pub fn declare(config: &Config) -> Result<Model> {
    declare_method(config, method(config)?.as_ref())
}

/// [`declare`] for this method in place of the configuration's.
///
/// # Errors
/// As [`declare`].
pub fn declare_method(config: &Config, method: &dyn Method) -> Result<Model> {
    let (mut g, mut model) = (Graph::new(), Model::default());
    let images = config.part();
    let size = config.model.image_size;
    let draws = method.draws();
    let rows = images * draws.views.count() / draws.views.tensors();
    let mut views = || {
        let view = |_| g.input("views", TensorType::f32([rows, size, size, 3]));
        (0..draws.views.tensors()).map(view).collect()
    };
    let (own, others) = (views(), draws.regrouped.map_or_else(Vec::new, |_| views()));
    let batch = Batch::new(&mut g, &draws, images, own).with_regrouped(others);
    let mut net = Net::new(&mut g, &mut model, Mode::Train);
    match cached(config, method) {
        None => drop(method.build(&mut net, &batch).map_err(shapes)?),
        Some(split) => {
            let parts = config.parts();
            let mut all = Vec::new();
            for t in split.embed(&mut net, &batch).map_err(shapes)?.z {
                let mut dims = net.dims(t).to_vec();
                dims[1] *= parts;
                all.push(net.input("embeddings", TensorType::f32(dims.as_slice())));
            }
            split.loss(&mut net, &all).map_err(shapes)?;
        }
    }
    Ok(model)
}
