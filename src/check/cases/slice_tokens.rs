//! Cases of `slice_tokens`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::slice_tokens::SliceTokens;

/// Images, tokens, width; first, count.
pub(super) const SHAPES: [([usize; 3], usize, usize); 6] = [
    ([1, 1, 1], 0, 1),
    ([3, 7, 5], 0, 1),
    ([3, 7, 5], 1, 6),
    ([2, 65, 48], 1, 64),
    ([70, 9, 32], 4, 2),
    ([6, 3, 640], 1, 1),
];

pub(super) fn cases() -> Vec<Case> {
    SHAPES
        .map(|(shape, first, count)| {
            Case::new(SliceTokens { first, count }, vec![Feed::uniform(shape)])
                .note(&format!("{first} {count}"))
                .grads(&[0])
        })
        .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "slice_tokens",
        find: "+ p.first + i % p.count",
        replace: "+ i % p.count",
    }]
}
