//! Cases of `row_dot`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::row_dot::RowDot;

pub(super) fn cases() -> Vec<Case> {
    [(1, 1), (3, 7), (5, 64), (33, 130), (200, 3)]
        .map(|(n, d)| {
            Case::new(RowDot, vec![Feed::uniform([n, d]), Feed::uniform([n, d])])
                .depth(d)
                .grads(&[0, 1])
        })
        .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "row_dot",
        find: "fma(a[at + i], b[at + i], s)",
        replace: "fma(a[at + i], b[i], s)",
    }]
}
