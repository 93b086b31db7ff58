//! Cases of `standardize_columns_grad`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::standardize_columns_grad::StandardizeColumnsGrad;

pub(super) fn cases() -> Vec<Case> {
    [(1, 2, 1), (2, 7, 5), (3, 40, 33), (1, 256, 130)]
        .map(|(c, n, d)| {
            let x = || Feed::uniform([c, n, d]);
            Case::new(
                StandardizeColumnsGrad,
                vec![x(), x(), Feed::range([c, d], 0.5, 2.0)],
            )
            .depth(n)
            .condition(4.0)
        })
        .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "standardize_columns_grad",
            find: "- y[j] * along",
            replace: "- along",
        },
        Mutation {
            kernel: "standardize_columns_grad",
            find: "dy[j] - mean",
            replace: "dy[j]",
        },
    ]
}
