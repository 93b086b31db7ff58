//! Cases of `relu_grad`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::relu_grad::ReluGrad;

pub(super) fn cases() -> Vec<Case> {
    let mut v: Vec<Case> = [1, 3, 64, 65, 1000, 4096, 16385]
        .into_iter()
        .map(|n| Case::new(ReluGrad, vec![Feed::uniform([n]), Feed::uniform([n])]))
        .collect();
    v.push(
        Case::new(
            ReluGrad,
            vec![Feed::uniform([4, 7, 5, 12]), Feed::uniform([4, 7, 5, 12])],
        )
        .note("rank 4"),
    );

    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "relu_grad",
        find: "y[i] > E(0.0)",
        replace: "y[i] < E(0.0)",
    }]
}
