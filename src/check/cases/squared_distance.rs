//! Cases of `squared_distance`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::squared_distance::SquaredDistance;

pub(super) fn cases() -> Vec<Case> {
    [
        (1, 1, 1, 1),
        (3, 7, 5, 2),
        (65, 64, 100, 20),
        (5, 513, 9, 9),
    ]
    .map(|(rows, d, n, k)| {
        let inputs = vec![
            Feed::uniform([rows, d]),
            Feed::uniform([n, d]),
            Feed::index([rows, k], n as u32),
        ];
        // The difference rounds once, its square doubles that: twice a sum's error.
        Case::new(SquaredDistance, inputs).depth(d).condition(2.0)
    })
    .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "squared_distance",
        find: "column[t] * p.d",
        replace: "column[t / p.k] * p.d",
    }]
}
