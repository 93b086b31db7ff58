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
    // Where y is not a number the gradient goes through, and where dy is not, it stays so.
    for n in [7, 64] {
        let (dy, y) = (Feed::uniform([n]), Feed::uniform([n]));
        v.push(
            Case::new(ReluGrad, vec![dy.with_nan(&[1]), y.with_nan(&[0, 2, 5])])
                .note("not a number"),
        );
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "relu_grad",
            find: "lets_through(y[i])",
            replace: "y[i] < E(0.0)",
        },
        Mutation {
            kernel: "relu_grad",
            find: "lets_through(y[i])",
            replace: "y[i] > E(0.0)",
        },
    ]
}
