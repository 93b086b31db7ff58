//! Cases of `deviation_hinge_grad`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::deviation_hinge_grad::DeviationHingeGrad;

pub(super) fn cases() -> Vec<Case> {
    let op = DeviationHingeGrad { eps: 1e-4 };
    let mut v: Vec<Case> = [
        (1, 0.1, 0.9),
        (65, 0.1, 0.9),
        (67, 1.1, 4.0),
        (4096, 0.1, 0.9),
    ]
    .into_iter()
    .map(|(n, lo, hi)| {
        Case::new(op, vec![Feed::uniform([n]), Feed::range([n], lo, hi)]).condition(4.0)
    })
    .collect();
    for n in [7, 64] {
        let x = Feed::range([n], 0.1, 2.0).with_nan(&[0, 2, 5]);
        v.push(
            Case::new(op, vec![Feed::uniform([n]), x])
                .condition(4.0)
                .note("not a number"),
        );
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "deviation_hinge_grad",
            find: "-dy[i] / (s + s)",
            replace: "-dy[i] / s",
        },
        Mutation {
            kernel: "deviation_hinge_grad",
            find: "select(-dy[i] / (s + s), E(0.0), flat)",
            replace: "select(E(0.0), -dy[i] / (s + s), s < E(1.0))",
        },
    ]
}
