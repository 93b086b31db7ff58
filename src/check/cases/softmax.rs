//! Cases of `softmax`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::softmax::Softmax;

pub(super) fn cases() -> Vec<Case> {
    // Exponents up to 8: their rounding of 8 eps is a relative error of the shares.
    let mut v: Vec<Case> = [(1, 1), (3, 7), (5, 64), (33, 130), (200, 3)]
        .map(|(n, d)| {
            Case::new(Softmax, vec![Feed::range([n, d], -4.0, 4.0)])
                .depth(d)
                .condition(8.0)
                .grads(&[0])
        })
        .into();
    v.push(
        Case::new(Softmax, vec![Feed::range([3, 40], 900.0, 1000.0)])
            .note("large")
            .depth(40)
            .condition(1000.0),
    );
    // A NaN makes its row NaN, and no other.
    v.push(
        Case::new(Softmax, vec![Feed::uniform([5, 70]).with_nan(&[3, 150])])
            .note("not a number")
            .depth(70)
            .condition(8.0),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "softmax",
            find: "y[at + i] = exp_or_nan(x[at + i] - m) * inv",
            replace: "y[at + i] = exp_or_nan(x[at + i] - m)",
        },
        Mutation {
            kernel: "softmax",
            find: "x[at + i] - m)",
            replace: "x[at + i])",
        },
    ]
}
