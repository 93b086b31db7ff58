//! Cases of `column_sum`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::column_sum::ColumnSum;

pub(super) fn cases() -> Vec<Case> {
    let mut v: Vec<Case> = [
        (1, 1, 1),
        (1, 5, 3),
        (3, 64, 7),
        (2, 65, 64),
        (1, 1000, 10),
        (4, 129, 33),
        (1, 2048, 128),
    ]
    .into_iter()
    .map(|(b, m, n)| Case::new(ColumnSum, vec![Feed::range([b, m, n], 0.5, 1.5)]).depth(m))
    .collect();
    v.push(
        Case::new(ColumnSum, vec![Feed::range([300, 9], 0.5, 1.5)])
            .depth(300)
            .note("rank 2"),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "column_sum",
        find: "s = s + x[(b * p.m + i) * p.n + j]",
        replace: "s = x[(b * p.m + i) * p.n + j]",
    }]
}
