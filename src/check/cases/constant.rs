//! Cases of `constant`.

use crate::check::{Case, Mutation};
use crate::ops::constant::Constant;

pub(super) fn cases() -> Vec<Case> {
    [1, 5, 64, 4097]
        .into_iter()
        .map(|n| {
            Case::new(
                Constant {
                    shape: [n].into(),
                    value: 2.5,
                },
                vec![],
            )
            .note(&format!("[{n}]"))
        })
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "constant",
        find: "E(p.a)",
        replace: "E(p.a + p.b + 1.0)",
    }]
}
