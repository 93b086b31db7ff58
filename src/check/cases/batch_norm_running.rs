//! Cases of `batch_norm_running`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::batch_norm_running::BatchNormRunning;

pub(super) fn cases() -> Vec<Case> {
    [1, 7, 64, 130]
        .into_iter()
        .map(|c| {
            Case::new(
                BatchNormRunning {
                    momentum: 0.1,
                    count: 32,
                },
                vec![Feed::uniform([c]), Feed::range([c], 0.1, 1.0)],
            )
            .updates(vec![Feed::uniform([c]), Feed::range([c], 0.1, 1.0)])
        })
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "batch_norm_running",
        find: "p.unbias * variance[c]",
        replace: "variance[c]",
    }]
}
