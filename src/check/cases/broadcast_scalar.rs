//! Cases of `broadcast_scalar`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::broadcast_scalar::BroadcastScalar;

pub(super) fn cases() -> Vec<Case> {
    [1, 3, 64, 4097]
        .into_iter()
        .map(|n| {
            Case::new(
                BroadcastScalar { shape: [n].into() },
                vec![Feed::uniform([1])],
            )
            .note(&format!("to [{n}]"))
            .grads(&[0])
        })
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "broadcast_scalar",
        find: "E(x[0])",
        replace: "E(2.0 * x[0])",
    }]
}
