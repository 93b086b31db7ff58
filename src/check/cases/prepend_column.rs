//! Cases of `prepend_column`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::prepend_column::PrependColumn;

pub(super) fn cases() -> Vec<Case> {
    [(1, 1), (3, 7), (70, 64), (5, 1000)]
        .map(|(n, d)| {
            Case::new(
                PrependColumn,
                vec![Feed::uniform([n]), Feed::uniform([n, d])],
            )
            .grads(&[0, 1])
        })
        .into_iter()
        .chain([Case::new(
            PrependColumn,
            vec![Feed::uniform([2, 3]), Feed::uniform([2, 3, 5])],
        )
        .note("heads")
        .grads(&[0, 1])])
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "prepend_column",
        find: "row * p.n + j - 1u",
        replace: "row * p.n + j",
    }]
}
