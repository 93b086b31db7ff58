//! Cases of `prepend_column_grad`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::prepend_column_grad::PrependColumnGrad;

pub(super) fn cases() -> Vec<Case> {
    [(1, 2), (3, 8), (70, 65)]
        .map(|(n, d)| Case::new(PrependColumnGrad, vec![Feed::uniform([n, d])]))
        .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "prepend_column_grad",
        find: "row * p.n + j - 1u",
        replace: "row * p.n",
    }]
}
