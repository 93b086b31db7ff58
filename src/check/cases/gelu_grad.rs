//! Cases of `gelu_grad`.

use super::with_halves;
use crate::check::{Case, Feed, Mutation};
use crate::ops::gelu_grad::GeluGrad;

pub(super) fn cases() -> Vec<Case> {
    let cases = [1, 3, 64, 65, 1000, 4096, 16385].map(|n| {
        let inputs = vec![Feed::uniform([n]), Feed::range([n], -6.0, 6.0)];
        Case::new(GeluGrad, inputs)
    });
    with_halves(cases.into(), &[1])
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "gelu_grad",
        find: "V(0.39894228)",
        replace: "V(0.3989)",
    }]
}
