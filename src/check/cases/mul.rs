//! Cases of `mul`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::mul::Mul;

pub(super) fn cases() -> Vec<Case> {
    let mut v: Vec<Case> = [1, 3, 64, 65, 1000, 4096, 16385]
        .into_iter()
        .map(|n| Case::new(Mul, vec![Feed::uniform([n]), Feed::uniform([n])]).grads(&[0, 1]))
        .collect();
    v.push(
        Case::new(
            Mul,
            vec![Feed::uniform([4, 7, 5, 12]), Feed::uniform([4, 7, 5, 12])],
        )
        .note("rank 4")
        .grads(&[0, 1]),
    );

    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "mul",
        find: "a[i] * b[i]",
        replace: "a[i] + b[i]",
    }]
}
