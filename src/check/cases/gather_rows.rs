//! Cases of `gather_rows`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::gather_rows::GatherRows;

pub(super) fn cases() -> Vec<Case> {
    [(1, 1, 1), (7, 768, 5), (300, 3, 64), (64, 33, 200)]
        .map(|(n, w, b)| {
            Case::new(
                GatherRows,
                vec![Feed::index([n, w], 1 << 24), Feed::index([b], n as u32)],
            )
        })
        .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "gather_rows",
        find: "+ t % p.width",
        replace: "",
    }]
}
