//! Cases of `reshape`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::reshape::Reshape;

pub(super) fn cases() -> Vec<Case> {
    let of = |(a, b): (usize, usize)| {
        let shape = [b, a].into();
        Case::new(Reshape { shape }, vec![Feed::uniform([a, b])])
    };
    let sizes = [(3, 8), (5, 7), (64, 64)];
    let halves = sizes.map(|size| of(size).in_f16(&[0]));
    sizes
        .map(|size| of(size).grads(&[0]))
        .into_iter()
        .chain(halves)
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "reshape",
        find: "= x[i]",
        replace: "= x[0]",
    }]
}
