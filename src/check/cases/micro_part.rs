//! Cases of `micro_part`.

use crate::check::{Case, Feed, Mutation};
use crate::graph::StepScalars;
use crate::ops::micro_part::MicroPart;

pub(super) fn cases() -> Vec<Case> {
    [
        (1, 0, 3, 5),
        (3, 1, 7, 11),
        (4, 3, 8, 16),
        (5, 2, 1, 1),
        (3, 2, 200, 300),
    ]
    .into_iter()
    .map(|(parts, micro, a, b)| {
        let op = MicroPart {
            parts,
            out: [a, b].into(),
        };
        let step = StepScalars {
            micro,
            ..StepScalars::default()
        };
        Case::new(op, vec![Feed::uniform([parts, a, b])]).step(step)
    })
    .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "micro_part",
        find: "step.micro * p.part + ",
        replace: "step.micro * p.part / 2u + ",
    }]
}
