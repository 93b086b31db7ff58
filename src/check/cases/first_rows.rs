//! Cases of `first_rows`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::first_rows::FirstRows;

pub(super) fn cases() -> Vec<Case> {
    [(1, 3, 5, 1), (3, 4, 7, 1), (4, 8, 8, 2)]
        .into_iter()
        .map(|(n, a, b, rows)| {
            Case::new(FirstRows { rows }, vec![Feed::uniform([n, a, b])]).grads(&[0])
        })
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "first_rows",
        find: "y[i] = x[i]",
        replace: "y[i] = x[0]",
    }]
}
