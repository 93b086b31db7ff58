//! k nearest neighbours on frozen features.

use crate::config::{NEIGHBOURS, VOTES};
use crate::downstream::encoder::Feature;
use crate::downstream::record::Provenance;
use crate::downstream::{DownstreamError, Result, Source, Tell, look_at, progress};
use crate::eval::knn::{self, Bank, Distance, Vote};
use crate::settings::check_range;
use serde_json::{Value, json};

/// How neighbours vote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnnSettings {
    /// Neighbours. None: as many as the run's own evaluation took.
    pub k: Option<usize>,
    /// Temperature of cosine votes. None: that of the run's own evaluation.
    pub t: Option<f32>,
    /// Which neighbours are near.
    pub distance: Distance,
    /// Features of the backbone or of a head.
    pub feature: Feature,
}

/// What the neighbours said.
#[derive(Clone, Debug)]
pub struct KnnResult {
    /// Test images whose class had most votes, percent.
    pub top1: f64,
    /// Test images whose class was among the five with most votes, percent.
    pub top5: f64,
    /// The protocol in words.
    pub protocol: String,
    /// The epoch after which the encoder was saved.
    pub epoch: usize,
    /// The record, as it was written.
    pub record: Value,
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
    let mut encoder = source.encoder(&trained, &split, s.feature, tell)?;
    let r = &trained.config.run;
    let vote = Vote {
        k: s.k.unwrap_or(r.knn_k),
        t: s.t.unwrap_or(r.knn_t),
        distance: s.distance,
    };
    let t = vote.t;
    let mut told = |done, all| progress(tell, done, all, "features");
    let bank = encoder.features(split.bank(), &mut told)?;
    let queries = encoder.features(&split.test, &mut told)?;
    look_at(tell, "training images", &bank, encoder.dim());
    look_at(tell, "test images", &queries, encoder.dim());
    let labels = &split.bank().labels;
    let bank = Bank {
        features: &bank,
        labels,
    };
    let found = encoder.neighbours(&queries, bank, split.classes.len(), vote)?;
    let [top1, top5] = [1, 5].map(|n| knn::top(&found, &split.test.labels, n));
    let (n, epoch) = (labels.len(), trained.at.epoch);
    let protocol = format!(
        "{}, {}, test transform, running statistics",
        vote.describe(n),
        s.feature
    );
    let value = json!({
        "knn_top1": top1, "knn_top5": top5, "k": vote.k.min(n), "t": (f64::from(t) * 1e6).round() / 1e6,
        "bank": n, "queries": split.test.len(),
    });
    let from = Provenance {
        source,
        data: &split.description,
        seed: r.seed,
        epoch,
    };
    Ok(KnnResult {
        top1,
        top5,
        epoch,
        record: from.write("knn", &protocol, value)?,
        protocol,
    })
}
