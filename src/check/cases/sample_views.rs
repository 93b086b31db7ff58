//! Cases of `sample_views`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::sample_views::SampleViews;

pub(super) fn cases() -> Vec<Case> {
    [
        (1, 2, 1, 1),
        (3, 10, 7, 2),
        (2, 66, 5, 33),
        (2, 300, 64, 100),
    ]
    .map(|(c, n, d, rows)| {
        Case::new(SampleViews { rows }, vec![Feed::uniform([c, n, d])])
            .note(&format!("{rows} rows"))
    })
    .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "sample_views",
        find: "x[p.off + t]",
        replace: "x[t]",
    }]
}
