//! Cases of `deviation_hinge_grad`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::deviation_hinge_grad::DeviationHingeGrad;

pub(super) fn cases() -> Vec<Case> {
    let op = DeviationHingeGrad { eps: 1e-4 };
    [
        (1, 0.1, 0.9),
        (65, 0.1, 0.9),
        (67, 1.1, 4.0),
        (4096, 0.1, 0.9),
    ]
    .into_iter()
    .map(|(n, lo, hi)| {
        Case::new(op, vec![Feed::uniform([n]), Feed::range([n], lo, hi)]).condition(4.0)
    })
    .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "deviation_hinge_grad",
        find: "-dy[i] / (s + s)",
        replace: "-dy[i] / s",
    }]
}
