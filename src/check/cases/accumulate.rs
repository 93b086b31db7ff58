//! Cases of `accumulate`.

use crate::check::{Case, Feed, Mutation};
use crate::graph::StepScalars;
use crate::ops::accumulate::Accumulate;

pub(super) fn cases() -> Vec<Case> {
    [1, 3, 64, 65, 1000, 4096, 16385]
        .into_iter()
        .map(|n| {
            Case::new(Accumulate, vec![Feed::uniform([n])])
                .updates(vec![Feed::uniform([n])])
                .step(StepScalars {
                    micro: n as u32 % 2,
                    grad_scale: 0.25,
                    ..StepScalars::default()
                })
        })
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "accumulate",
        find: "acc[i] + add",
        replace: "add",
    }]
}
