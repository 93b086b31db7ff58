//! The encoder's programs, recorded for a browser.

use crate::data::augment::Policy;
use crate::device::Limits;
use crate::eval::attention::Maps;
use crate::eval::features::{Features, Shape};
use crate::graph::planner::Planner;
use crate::graph::portable::Portable;
use crate::graph::{Executor, GraphError};
use crate::nn::import::import;
use crate::nn::{Backbone, Model};
use crate::run::weights::Trained;
use crate::train::{Result, TrainError};

/// The name of the program that makes features of a batch.
pub(super) const EMBED: &str = "embed";
/// The name of the program that tells what the class token of one image looks at.
const ATTENTION: &str = "attention";

/// What a page replays.
pub(super) struct Recorded {
    /// The programs.
    pub plan: Portable,
    /// What the buffers hold at the start.
    pub weights: Vec<u8>,
    /// Length of a feature.
    pub dim: usize,
    /// Heads of the last attention, where the encoder has a class token.
    pub heads: Option<usize>,
}

/// Records the encoder of a run for images of `side` (height, width), `batch` at once, within WebGPU's default limits.
/// No device is needed.
///
/// # Errors
/// Weights that do not fit the configuration's encoder; a tensor that no binding holds.
pub(super) fn record(run: &Trained, side: (usize, usize), batch: usize) -> Result<Recorded> {
    let (encoder, policy): (_, &Policy) = (run.config.backbone()?, &run.config.augment);
    let encoder: &dyn Backbone = encoder.as_ref();
    let size = run.config.model.image_size;
    let (mut model, mut exec) = (Model::default(), Planner::recording(&Limits::web()));
    let shape = Shape { side, size, batch };
    let (graph, features) = Features::graph(encoder, &mut model, policy, shape, &[])?;
    let maps = Maps::graph(encoder, &mut model, policy, side, size, 1)?;
    exec.allocate_states(&model.states)?;
    let features = features.compile(&graph, &mut exec)?;
    let heads = maps.map(|m| m.compile(&mut exec)).transpose()?;
    let report = import(&model, &mut exec, &run.weights)?;
    let absent = report.missing.first();
    if let Some(name) = absent.or(report.mismatched.first().map(|m| &m.0)) {
        return Err(TrainError::Config(format!(
            "the checkpoint has no fitting `{name}` for this encoder"
        )));
    }
    let tape = exec
        .tape()
        .ok_or_else(|| GraphError::Invalid("the executor did not record".into()))?;
    let (mut plan, weights) = tape.portable(&[EMBED, ATTENTION])?;
    for (program, name) in plan.programs.iter_mut().zip(["features", "attention"]) {
        for output in &mut program.outputs {
            output.name = name.into();
        }
    }
    Ok(Recorded {
        plan,
        weights,
        dim: features.dim,
        heads,
    })
}
