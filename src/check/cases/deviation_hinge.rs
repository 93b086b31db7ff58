//! Cases of `deviation_hinge`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::deviation_hinge::DeviationHinge;

pub(super) fn cases() -> Vec<Case> {
    // Below the hinge, above it, and around it (without gradients: a kink may lie within the step).
    let op = DeviationHinge { eps: 1e-4 };
    let mut v: Vec<Case> = [1, 3, 64, 65, 4096]
        .into_iter()
        .map(|n| Case::new(op, vec![Feed::range([n], 0.1, 0.9)]).grads(&[0]))
        .collect();
    v.push(
        Case::new(op, vec![Feed::range([67], 1.1, 4.0)])
            .note("above")
            .grads(&[0]),
    );
    v.push(Case::new(op, vec![Feed::range([1000], 0.0, 2.0)]).note("both sides"));
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "deviation_hinge",
        find: "E(1.0) - sqrt",
        replace: "E(1.5) - sqrt",
    }]
}
