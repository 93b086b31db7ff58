//! Evaluations of a run, one function each. It reads the run's folder, writes its result beside the run and
//! returns it.

mod finetune;
mod knn;
mod pairs;
mod probes;

pub use finetune::{FINETUNE, FinetuneChoice, FinetuneResult, LabelShare, finetune_shares};
pub(crate) use knn::protocol as knn_protocol;
pub use knn::{KNN, KnnResult, KnnSettings, knn};
pub use pairs::{PairsResult, similarity};
pub use probes::{
    Amount, DRAWS, FEW_LABEL, FewLabelResult, FewLabels, LABELS, LINEAR, LinearResult,
    ProbeSettings, few_label, linear, protocols,
};

use super::encoder::{Encoder, Feature};
use super::{Result, Tell, look_at, progress};
use crate::data::Dataset;
use serde_json::{Map, Value};

/// Each of an encoder's features of `images`, which `what` names; warns of those that say nothing.
fn looked_at(
    encoder: &mut Encoder,
    images: &Dataset,
    what: &str,
    tell: Tell<'_>,
) -> Result<Vec<Vec<f32>>> {
    let each = encoder.each(images, &mut |done, all| {
        progress(tell, done, all, "features");
    })?;
    let several = encoder.made.len() > 1;
    for (feature, x) in encoder.made.iter().zip(&each) {
        let named = format!("{what}, {feature}");
        look_at(tell, if several { &named } else { what }, x, encoder.dim());
    }
    Ok(each)
}

/// The record of what each feature gave (objects of the same keys): the main one's values, and where features have
/// names, which it is, and each one's under `features`.
fn by_feature(encoder: &Encoder, each: Vec<Value>) -> Value {
    let mut out = each[encoder.main].clone();
    if let Feature::Read(pool) = encoder.made[encoder.main] {
        let named = encoder.made.iter().map(|f| f.name()).zip(each);
        out["feature"] = pool.name().into();
        out["features"] = Value::Object(named.collect::<Map<_, _>>());
    }
    out
}
