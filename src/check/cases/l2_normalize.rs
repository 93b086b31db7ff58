//! Cases of `l2_normalize`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::l2_normalize::L2Normalize;

pub(super) fn cases() -> Vec<Case> {
    let mut v: Vec<Case> = [(1, 1), (3, 5), (7, 64), (9, 128), (33, 200)]
        .into_iter()
        .map(|(n, d)| {
            Case::new(L2Normalize { eps: 1e-12 }, vec![Feed::normal([n, d])])
                .depth(d)
                .grads(&[0])
        })
        .collect();
    v.push(
        Case::new(
            L2Normalize { eps: 1e-12 },
            vec![Feed::values([2, 3], vec![0.0, 0.0, 0.0, 3.0, 0.0, 4.0])],
        )
        .note("a zero row"),
    );
    v.push(
        Case::new(
            L2Normalize { eps: 1e-12 },
            vec![Feed::normal([5, 70]).with_nan(&[3, 150])],
        )
        .depth(70)
        .note("not a number"),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "l2_normalize",
            find: "sqrt(row_sum(l, s))",
            replace: "row_sum(l, s)",
        },
        Mutation {
            kernel: "l2_normalize",
            find: "at_least(sqrt(row_sum(l, s)), p.a)",
            replace: "max(sqrt(row_sum(l, s)), p.a)",
        },
    ]
}
