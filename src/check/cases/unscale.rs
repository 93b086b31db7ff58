//! Cases of `unscale`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::unscale::Unscale;

pub(super) fn cases() -> Vec<Case> {
    [(1, 65536.0), (65, 0.5), (4096, 1024.0), (16385, 1.0)]
        .into_iter()
        .map(|(n, scale)| {
            Case::new(Unscale, vec![Feed::values([1], vec![scale])])
                .updates(vec![Feed::uniform([n])])
        })
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "unscale",
        find: "254u << 23u",
        replace: "253u << 23u",
    }]
}
