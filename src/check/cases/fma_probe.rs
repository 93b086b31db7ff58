//! Cases of `fma_probe`.

use crate::check::{Case, Mutation};
use crate::ops::fma_probe::FmaProbe;

pub(super) fn cases() -> Vec<Case> {
    // A contraction forgets its rounding: the error is that of the last 1 / (1 - a) = 1000 rounds at most.
    [(1, 3), (5, 40)]
        .map(|(groups, rounds)| {
            Case::new(FmaProbe { groups, rounds }, vec![])
                .note(&format!("{groups} groups"))
                .depth(rounds)
                .condition(4.0)
        })
        .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "fma_probe",
        find: "v5 = fma(v5, a, b);",
        replace: "",
    }]
}
