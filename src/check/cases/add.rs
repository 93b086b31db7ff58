//! Cases of `add`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::add::Add;

pub(super) fn cases() -> Vec<Case> {
    let mut v: Vec<Case> = [1, 3, 64, 65, 1000, 4096, 16385]
        .into_iter()
        .map(|n| Case::new(Add, vec![Feed::uniform([n]), Feed::uniform([n])]).grads(&[0, 1]))
        .collect();
    v.push(
        Case::new(
            Add,
            vec![Feed::uniform([4, 7, 5, 12]), Feed::uniform([4, 7, 5, 12])],
        )
        .note("rank 4")
        .grads(&[0, 1]),
    );
    v.push(
        Case::new(
            Add,
            vec![
                Feed::uniform([64 * 65_537 * 4]),
                Feed::uniform([64 * 65_537 * 4]),
            ],
        )
        .note("more than 65535 groups"),
    );
    v.extend(
        [1000, 1004, 4097]
            .map(|n| Case::new(Add, vec![Feed::uniform([n]), Feed::uniform([n])]).in_f16(&[0, 1])),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "add",
        find: "a[i] + b[i]",
        replace: "a[i] - b[i]",
    }]
}
