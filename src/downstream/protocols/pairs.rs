//! The similarity of positive and negative pairs of test images.

use crate::config::Precision;
use crate::downstream::record::Provenance;
use crate::downstream::similarity::{self, FIRST, Similarity, WIDTH};
use crate::downstream::{DownstreamError, Notice, Result, Source, Tell};
use crate::settings::{SEED, between, check_range};
use crate::train::session::open_executor;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The name of the result, in that of its file.
const SIMILARITY: &str = "similarity";

/// What [`similarity`] found.
#[derive(Clone, Debug)]
pub struct PairsResult {
    /// Augmentation families and the scores under them.
    pub sets: Vec<(String, Similarity)>,
    /// The protocol in words.
    pub protocol: String,
    /// The record, as it was written.
    pub record: Value,
    /// The record's file.
    pub file: PathBuf,
}

/// Rounds for a file: an f32 has about seven digits, and the further digits of its f64 mean nothing.
fn round(v: f32) -> f64 {
    (f64::from(v) * 1e6).round() / 1e6
}

/// Scores `wanted` positive and as many negative pairs of test images under each set of augmentation
/// `families`. Without families it scores them under the run's own.
///
/// # Errors
/// A number outside its range, no such run, fewer than two test images, unknown families; the device.
pub fn similarity(
    source: &Source,
    wanted: usize,
    families: &[String],
    seed: u64,
    tell: Tell<'_>,
) -> Result<PairsResult> {
    check_range("similarity.pairs", &wanted, between(1.0, 1e9))
        .and_then(|()| check_range("similarity.seed", &seed, SEED))
        .map_err(DownstreamError::Request)?;
    let (trained, split) = source.read(tell)?;
    let augment = &trained.config.augment;
    let own = [augment.families.clone()];
    let mut sets = Vec::new();
    for letters in if families.is_empty() { &own } else { families } {
        let mut policy = augment.clone();
        policy.families = letters.clone();
        policy.validate().map_err(DownstreamError::Request)?;
        let mut exec = open_executor(&source.device, &[], Precision::F32, |_| ())?;
        let found =
            similarity::similarity(&trained, &split.test, &policy, wanted, seed, exec.as_mut())?;
        if let Some(doubt) = &found.doubt {
            tell(Notice::Warning(&format!(
                "views of test images, {letters}: {doubt}"
            )));
        }
        sets.push((letters.clone(), found));
    }
    let of = |(letters, s): &(String, Similarity)| json!({"families": letters, "scores": s.scores});
    let mut value = json!({
        "pairs_wanted": wanted, "bins": {"first": round(FIRST), "width": round(WIDTH)},
        "similarity": sets.iter().map(of).collect::<Vec<_>>(),
    });
    // These facts are the same under all families.
    let last = sets.last().map(|s| &s.1);
    if let Some(s) = last {
        value["pairs"] = s.pairs.into();
        value["merged"] = s.merged.clone().into();
        value["scaled"] = s.scaled.clone().into();
    }
    let n = last.map_or(0, |s| s.pairs);
    if n < wanted {
        value["short"] = format!(
            "{wanted} pairs were wanted; the {n} test images give {n}, as each is in one positive pair"
        )
        .into();
    }
    let protocol = format!(
        "{n} positive pairs (two views of a test image) and {n} negative pairs (views of different test images), \
         seed {seed}; cosines; bins of 0.06 with an edge at -0.2"
    );
    let from = Provenance {
        source,
        data: &split.description,
        seed,
        epoch: trained.at.epoch,
    };
    Ok(PairsResult {
        sets,
        record: from.write(SIMILARITY, &protocol, value)?,
        file: from.file(SIMILARITY)?,
        protocol,
    })
}
