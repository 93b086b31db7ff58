//! Cases of `softmax_grad`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::softmax_grad::SoftmaxGrad;

pub(super) fn cases() -> Vec<Case> {
    [(1, 1), (3, 7), (5, 64), (33, 130), (200, 3)]
        .map(|(n, d)| {
            Case::new(
                SoftmaxGrad,
                vec![Feed::uniform([n, d]), Feed::uniform([n, d])],
            )
            .depth(d)
        })
        .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "softmax_grad",
        find: "(dy[at + i] - s)",
        replace: "dy[at + i]",
    }]
}
