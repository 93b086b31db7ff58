//! Cases of `amcl_pair_loss`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::amcl_pair_loss::AmclPairLoss;

pub(super) fn cases() -> Vec<Case> {
    let op = AmclPairLoss {
        weight: 0.5,
        beta: 0.1,
        eta: 0.05,
        iota: 1.95,
        d: 16,
    };
    // s/tau with tau down to .05 beside Omega of size 20: terms of size 20 in sums of size 1.
    let mut v: Vec<Case> = [1, 7, 64, 1000]
        .map(|n| {
            Case::new(op, vec![Feed::uniform([n]), Feed::range([n], -3.0, 3.0)])
                .condition(16.0)
                .grads(&[0, 1])
        })
        .into();
    let (s, r) = (Feed::uniform([7]), Feed::range([7], -3.0, 3.0));
    v.push(
        Case::new(op, vec![s.with_nan(&[1]), r.with_nan(&[2, 5])])
            .condition(16.0)
            .note("not a number"),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "amcl_pair_loss",
            find: "p.weight * s[t] / tau",
            replace: "s[t] / tau",
        },
        Mutation {
            kernel: "amcl_pair_loss",
            find: "p.beta * omega(tau)",
            replace: "omega(tau)",
        },
        Mutation {
            kernel: "amcl_pair_loss",
            find: "at_most(r, 80.0)",
            replace: "min(r, 80.0)",
        },
    ]
}
