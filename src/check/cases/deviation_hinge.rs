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
    for n in [7, 64] {
        let x = Feed::range([n], 0.0, 2.0).with_nan(&[0, 2, 5]);
        v.push(Case::new(op, vec![x]).note("not a number"));
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "deviation_hinge",
            find: "E(1.0) - sqrt",
            replace: "E(1.5) - sqrt",
        },
        Mutation {
            kernel: "deviation_hinge",
            find: "relu(E(1.0) - sqrt(x[i] + E(p.a)))",
            replace: "max(E(1.0) - sqrt(x[i] + E(p.a)), E(0.0))",
        },
    ]
}
