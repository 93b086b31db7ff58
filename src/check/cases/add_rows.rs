//! Cases of `add_rows`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::add_rows::AddRows;

pub(super) fn cases() -> Vec<Case> {
    let mut v: Vec<Case> = [(1, 1, 1), (3, 5, 7), (2, 65, 48), (70, 9, 32), (5, 37, 192)]
        .map(|(b, n, d)| {
            let inputs = vec![Feed::uniform([b, n, d]), Feed::uniform([n, d])];
            Case::new(AddRows, inputs).grads(&[0, 1])
        })
        .into();
    v.push(Case::new(AddRows, vec![Feed::uniform([6, 10]), Feed::uniform([10])]).note("vector"));
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "add_rows",
        find: "v[i % p.size]",
        replace: "v[min(i, p.size - 1u)]",
    }]
}
