//! Cases of `ema`.

use crate::check::{Case, Feed, Mutation};
use crate::graph::StepScalars;
use crate::ops::ema::Ema;

pub(super) fn cases() -> Vec<Case> {
    [1, 3, 64, 65, 1000, 4096, 16385]
        .into_iter()
        .map(|n| {
            Case::new(Ema, vec![Feed::uniform([n])])
                .updates(vec![Feed::uniform([n])])
                .step(StepScalars {
                    ema: 0.99,
                    ..StepScalars::default()
                })
        })
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "ema",
        find: "(1.0 - step.ema) * x[i]",
        replace: "x[i]",
    }]
}
