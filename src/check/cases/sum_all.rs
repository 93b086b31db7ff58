//! Cases of `sum_all`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::sum_all::{SumAll, SumSquares};

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for n in [1, 2, 63, 64, 65, 4095, 4096, 4097, 70_001, 600_000] {
        // All terms positive: the sum is as large as its terms allow, so the bound needs no condition factor.
        v.push(
            Case::new(SumAll, vec![Feed::range([n], 0.5, 1.5)])
                .depth(n)
                .grads(&[0]),
        );
        v.push(Case::new(SumSquares, vec![Feed::range([n], 0.5, 1.5)]).depth(n));
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "sum_all",
        find: "h = 32u",
        replace: "h = 16u",
    }]
}
