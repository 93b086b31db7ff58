//! Cases of `reshape`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::reshape::Reshape;

pub(super) fn cases() -> Vec<Case> {
    [(3, 8), (5, 7), (64, 64)]
        .into_iter()
        .map(|(a, b)| {
            Case::new(
                Reshape {
                    shape: [b, a].into(),
                },
                vec![Feed::uniform([a, b])],
            )
            .grads(&[0])
        })
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "reshape",
        find: "= x[i]",
        replace: "= x[0]",
    }]
}
