//! Cases of `first_rows_grad`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::first_rows_grad::FirstRowsGrad;

pub(super) fn cases() -> Vec<Case> {
    [(1, 5, 1), (3, 7, 1), (4, 64, 2)]
        .into_iter()
        .map(|(n, a, rows)| {
            Case::new(
                FirstRowsGrad {
                    input: [n, a].into(),
                },
                vec![Feed::uniform([rows, a])],
            )
        })
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "first_rows_grad",
        find: "i < p.kept",
        replace: "i <= p.kept",
    }]
}
