//! Cases of `stop_gradient`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::stop_gradient::StopGradient;

pub(super) fn cases() -> Vec<Case> {
    [1, 67, 4096]
        .into_iter()
        .map(|n| Case::new(StopGradient, vec![Feed::uniform([n])]))
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "stop_gradient",
        find: "= x[i]",
        replace: "= x[0]",
    }]
}
