//! k nearest neighbours on frozen features.

use super::{by_feature, looked_at};
use crate::config::{NEIGHBOURS, VOTES};
use crate::downstream::encoder::Feature;
use crate::downstream::record::Provenance;
use crate::downstream::{DownstreamError, Result, Source, Tell};
use crate::eval::knn::{self, Bank, Distance, Vote};
use crate::settings::check_range;
use serde_json::{Value, json};

/// How neighbours vote.
#[derive(Clone, Debug, PartialEq)]
pub struct KnnSettings {
    /// Neighbours. None: as many as the run's own evaluation took.
    pub k: Option<usize>,
    /// Temperature of cosine votes. None: that of the run's own evaluation.
    pub t: Option<f32>,
    /// Which neighbours are near.
    pub distance: Distance,
    /// The features; none: all that the encoder has.
    pub features: Vec<Feature>,
}

/// What the neighbours said.
#[derive(Clone, Debug)]
pub struct KnnResult {
    /// Test images whose class had most votes by the encoder's main feature, percent.
    pub top1: f64,
    /// Test images whose class was among the five with most votes, percent.
    pub top5: f64,
    /// The two by each feature.
    pub each: Vec<(Feature, [f64; 2])>,
    /// The protocol in words.
    pub protocol: String,
    /// The epoch after which the encoder was saved.
    pub epoch: usize,
    /// The record, as it was written.
    pub record: Value,
}

/// The name of the result, in that of its file.
pub const KNN: &str = "knn";

/// The protocol in words, for a bank of `n`.
pub(crate) fn protocol(vote: Vote, n: usize, features: &[Feature]) -> String {
    format!(
        "{}, {}, test transform, running statistics",
        vote.describe(n),
        Feature::list(features)
    )
}

/// Classifies the test images by their nearest labelled training images.
///
/// # Errors
/// A number outside its range, no such run, data without labels; the device.
pub fn knn(source: &Source, s: &KnnSettings, tell: Tell<'_>) -> Result<KnnResult> {
    check_range("knn.k", &s.k, NEIGHBOURS)
        .and_then(|()| check_range("knn.t", &s.t, VOTES))
        .map_err(DownstreamError::Request)?;
    let (trained, split) = source.read_labelled(tell)?;
    let mut encoder = source.encoder(&trained, &split, &s.features, tell)?;
    let r = &trained.config.run;
    let vote = Vote {
        k: s.k.unwrap_or(r.knn_k),
        t: s.t.unwrap_or(r.knn_t),
        distance: s.distance,
    };
    let bank = looked_at(&mut encoder, split.bank(), "training images", tell)?;
    let queries = looked_at(&mut encoder, &split.test, "test images", tell)?;
    let labels = &split.bank().labels;
    let mut tops = Vec::new();
    for (features, queries) in bank.iter().zip(&queries) {
        let bank = Bank { features, labels };
        let found = encoder.neighbours(queries, bank, split.classes.len(), vote)?;
        tops.push([1, 5].map(|n| knn::top(&found, &split.test.labels, n)));
    }
    let (n, epoch) = (labels.len(), trained.at.epoch);
    let protocol = protocol(vote, n, &encoder.made) + &trained.config.augment.test_in_words();
    let of = |[top1, top5]: &[f64; 2]| json!({"knn_top1": top1, "knn_top5": top5});
    let mut value = by_feature(&encoder, tops.iter().map(of).collect());
    value["k"] = vote.k.min(n).into();
    value["t"] = ((f64::from(vote.t) * 1e6).round() / 1e6).into();
    value["bank"] = n.into();
    value["queries"] = split.test.len().into();
    let [top1, top5] = tops[encoder.main];
    let from = Provenance {
        source,
        data: &split.description,
        seed: r.seed,
        epoch,
    };
    Ok(KnnResult {
        top1,
        top5,
        each: encoder.made.iter().copied().zip(tops).collect(),
        epoch,
        record: from.write(KNN, &protocol, value)?,
        protocol,
    })
}
