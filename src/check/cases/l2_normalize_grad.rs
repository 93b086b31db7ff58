//! Cases of `l2_normalize_grad`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::l2_normalize_grad::L2NormalizeGrad;

pub(super) fn cases() -> Vec<Case> {
    let mut v: Vec<Case> = [(1, 2), (3, 5), (7, 64), (9, 128), (33, 200)]
        .into_iter()
        .map(|(n, d)| {
            Case::new(
                L2NormalizeGrad { eps: 1e-12 },
                vec![Feed::normal([n, d]), Feed::normal([n, d])],
            )
            .depth(d)
        })
        .collect();
    let x = Feed::normal([5, 70]).with_nan(&[3, 150]);
    v.push(
        Case::new(
            L2NormalizeGrad { eps: 1e-12 },
            vec![Feed::normal([5, 70]), x],
        )
        .depth(70)
        .note("not a number"),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "l2_normalize_grad",
            find: "- x[at + i] * along",
            replace: "",
        },
        Mutation {
            kernel: "l2_normalize_grad",
            find: "at_least(norm, p.a)",
            replace: "max(norm, p.a)",
        },
    ]
}
