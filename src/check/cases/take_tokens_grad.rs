//! Cases of `take_tokens_grad`.

use super::take_tokens::SHAPES;
use crate::check::{Case, Feed, Mutation};
use crate::ops::take_tokens_grad::TakeTokensGrad;

pub(super) fn cases() -> Vec<Case> {
    SHAPES
        .map(|[b, n, tokens, d]| {
            let inputs = vec![
                Feed::range([b, n, d], 0.5, 1.5),
                Feed::index([b, n], n as u32),
            ];
            Case::new(TakeTokensGrad { tokens }, inputs)
                .note(&format!("tokens {tokens}"))
                .depth(b * n)
        })
        .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "take_tokens_grad",
            find: "index[row] >= p.n",
            replace: "index[row] > p.n",
        },
        Mutation {
            kernel: "take_tokens_grad",
            find: "s = s + dy[row * p.d + c];",
            replace: "s = dy[row * p.d + c];",
        },
    ]
}
