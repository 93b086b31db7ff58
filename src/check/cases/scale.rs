//! Cases of `scale`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::scale::Scale;

pub(super) fn cases() -> Vec<Case> {
    let mut v: Vec<Case> = [1, 3, 64, 65, 1000, 4096, 16385]
        .into_iter()
        .map(|n| Case::new(Scale { factor: -1.75 }, vec![Feed::uniform([n])]).grads(&[0]))
        .collect();
    v.push(
        Case::new(Scale { factor: -1.75 }, vec![Feed::uniform([4, 7, 5, 12])])
            .note("rank 4")
            .grads(&[0]),
    );

    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "scale",
        find: "p.a * x[i]",
        replace: "x[i]",
    }]
}
