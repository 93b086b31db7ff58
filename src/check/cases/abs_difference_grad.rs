//! Cases of `abs_difference_grad`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::abs_difference_grad::AbsDifferenceGrad;

pub(super) fn cases() -> Vec<Case> {
    let mut v: Vec<Case> = [1, 3, 64, 65, 1000, 4096, 16385]
        .into_iter()
        .map(|n| {
            let x = || Feed::uniform([n]);
            Case::new(AbsDifferenceGrad, vec![x(), x(), x()])
        })
        .collect();
    // Zeros of both signs are equal.
    let a = (0..64).map(|i| [0.5, -0.25, 0.0, -0.0][i % 4]).collect();
    let b = (0..64).map(|i| [0.5, -0.25, -0.0, 1.0][i % 4]).collect();
    let feeds = vec![
        Feed::uniform([64]),
        Feed::values([64], a),
        Feed::values([64], b),
    ];
    v.push(Case::new(AbsDifferenceGrad, feeds).note("equal"));
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "abs_difference_grad",
            find: "a[i] > b[i]",
            replace: "a[i] >= b[i]",
        },
        Mutation {
            kernel: "abs_difference_grad",
            find: "-dy[i]",
            replace: "dy[i]",
        },
    ]
}
