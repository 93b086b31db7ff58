//! Cases of `row_scale`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::row_scale::RowScale;

pub(super) fn cases() -> Vec<Case> {
    [(1, 1), (3, 7), (5, 64), (33, 130), (200, 3)]
        .map(|(n, d)| {
            Case::new(RowScale, vec![Feed::uniform([n, d]), Feed::uniform([n])]).grads(&[0, 1])
        })
        .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "row_scale",
        find: "x[at + i] * s[row]",
        replace: "x[at + i] * s[0]",
    }]
}
