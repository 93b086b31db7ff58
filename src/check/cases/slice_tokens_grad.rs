//! Cases of `slice_tokens_grad`.

use super::slice_tokens::SHAPES;
use crate::check::{Case, Feed, Mutation};
use crate::ops::slice_tokens::SliceTokens;
use crate::ops::slice_tokens_grad::SliceTokensGrad;

pub(super) fn cases() -> Vec<Case> {
    SHAPES
        .map(|([b, tokens, d], first, count)| {
            let slice = SliceTokens { first, count };
            let op = SliceTokensGrad { slice, tokens };
            Case::new(op, vec![Feed::uniform([b, count, d])]).note(&format!("{first} of {tokens}"))
        })
        .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "slice_tokens_grad",
        find: "dx[i] = E(0.0);",
        replace: "dx[i] = dy[0];",
    }]
}
