//! Cases of `standardize_columns`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::standardize_columns::StandardizeColumns;

pub(super) fn cases() -> Vec<Case> {
    // The deviation of a few values may be a tenth of their size: its error counts ten times.
    [(1, 2, 1), (2, 7, 5), (3, 40, 33), (1, 256, 130)]
        .map(|(c, n, d)| {
            let case = Case::new(StandardizeColumns, vec![Feed::uniform([c, n, d])])
                .depth(n)
                .condition(16.0)
                .loss_outputs(1);
            if n > 2 { case.grads(&[0]) } else { case }
        })
        .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "standardize_columns",
            find: "f32(p.n - 1u)",
            replace: "f32(p.n)",
        },
        Mutation {
            kernel: "standardize_columns",
            find: "(x[at + i * p.d] - mean) * k",
            replace: "x[at + i * p.d] * k",
        },
    ]
}
