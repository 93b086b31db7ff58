//! Kind `lr_table`: learning rates by layer of a Vision Transformer, of layer-grafted pre-training and of fine-tuning
//! with layer decay; `meta.layer_ids` says which layer a parameter belongs to.

use super::judge::{Judge, Quantity};
use super::network::{narrow, vit};
use super::{Computer, Result, Subject, Verified};
use crate::config::Optim;
use crate::fixture::bad;
use crate::graph::Graph;
use crate::methods::loss::evaluate::Array;
use crate::nn::backbones::vit::Positions;
use crate::nn::{Mode, Model, Net};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    depth: usize,
    lgp_rates: Vec<f64>,
    lgp_lr: f64,
    batch: usize,
    layer_decay: f64,
    blr: f64,
}

pub(super) fn verify(subject: &Subject, computer: &Computer) -> Result<Verified> {
    let f = &subject.fixture;
    let s: Settings = f.config(&[])?;
    // The rates are made on the host, in f64, for every executor.
    let mut judge = Judge::new(f, computer.grade());
    let encoder = vit([4, 4, 4, s.depth, 1], 1.0, Positions::Sincos)?;
    let rates = s.lgp_rates.iter().map(|r| narrow("lgp_rates", *r));
    let rates = rates.collect::<Result<Vec<f32>>>()?;
    let base = Optim {
        batch_size: s.batch,
        ..Optim::default()
    };
    for (name, o) in [
        (
            "lgp",
            Optim {
                layer_rates: rates,
                blr: narrow("lgp_lr", s.lgp_lr)?,
                ..base.clone()
            },
        ),
        (
            "layer_decay",
            Optim {
                layer_decay: narrow("layer_decay", s.layer_decay)?,
                blr: narrow("blr", s.blr)?,
                ..base
            },
        ),
    ] {
        let scales = o.layer_scales(&encoder).map_err(|e| bad(e.to_string()))?;
        let peaks = scales.iter().map(|scale| scale * o.exact_rate());
        let (layers, peaks) = ([scales.len()], peaks.collect::<Vec<f64>>());
        let got = Array::new(&layers, peaks);
        judge.compare(&format!("{name}_peak_lr"), &got, Quantity::Value, 0.0)?;
        let got = Array::new(&layers, scales);
        judge.compare(&format!("{name}_scale"), &got, Quantity::Value, 0.0)?;
    }
    if !f.meta["layer_ids"].is_null() {
        let ids: BTreeMap<String, usize> = serde_json::from_value(f.meta["layer_ids"].clone())
            .map_err(|e| bad(format!("meta.layer_ids: {e}")))?;
        let (mut g, mut model) = (Graph::new(), Model::default());
        encoder.declare(&mut Net::new(&mut g, &mut model, Mode::Train));
        // What is no part of the encoder has the last layer's rate.
        let layer = |name: &str| {
            let own = model.params.iter().find(|p| p.name == name);
            own.map_or(s.depth + 1, |p| p.layer)
        };
        let differing = ids.iter().filter(|(name, id)| layer(name) != **id);
        judge.differing("meta.layer_ids", differing.count());
    }
    judge.finish()
}
