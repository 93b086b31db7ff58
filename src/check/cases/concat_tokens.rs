//! Cases of `concat_tokens`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::concat_tokens::ConcatTokens;

pub(super) fn cases() -> Vec<Case> {
    let shapes = [
        (1, 1, 1, 1),
        (3, 1, 6, 7),
        (2, 1, 64, 48),
        (5, 3, 2, 8),
        (70, 2, 5, 33),
    ];
    let shared = shapes.map(|(b, m, n, d)| (Feed::uniform([m, d]), Feed::uniform([b, n, d])));
    let own = shapes.map(|(b, m, n, d)| (Feed::uniform([b, m, d]), Feed::uniform([b, n, d])));
    let all = shared.into_iter().chain(own);
    all.map(|(first, rest)| Case::new(ConcatTokens, vec![first, rest]).grads(&[0, 1]))
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "concat_tokens",
            find: "image * p.step + at",
            replace: "at",
        },
        Mutation {
            kernel: "concat_tokens",
            find: "+ at - p.m * p.width",
            replace: "+ at - p.m",
        },
    ]
}
