//! Cases of `enqueue`.

use crate::check::{Case, Feed, Mutation};
use crate::graph::StepScalars;
use crate::ops::enqueue::Enqueue;

pub(super) fn cases() -> Vec<Case> {
    [
        (1, 4, 8, 3, 0, 0),
        (3, 5, 7, 4, 1, 0),
        (2, 7, 7, 5, 3, 1),
        (3, 32, 100, 16, 1000, 1),
        (3, 64, 96, 128, 5, 1),
        (1, 16, 4096, 128, 4_000_000_000, 0),
    ]
    .into_iter()
    .map(|(c, b, k, d, step, micro)| {
        let s = StepScalars {
            step,
            micro,
            ..StepScalars::default()
        };
        Case::new(
            Enqueue {
                micro_batches: 2,
                each: 2,
                index: 1,
            },
            vec![Feed::uniform([c, b, d])],
        )
        .updates(vec![Feed::uniform([c, k, d])])
        .step(s)
    })
    .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "enqueue",
        find: "(call * p.b + i) % p.k",
        replace: "i",
    }]
}
