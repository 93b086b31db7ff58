//! Cases of `standardize_columns_grad`.

use super::standardize_columns::note;
use crate::check::{Case, Feed, Mutation};
use crate::ops::standardize_columns::Deviation;
use crate::ops::standardize_columns_grad::StandardizeColumnsGrad;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for deviation in [Deviation::Unbiased, Deviation::BatchNorm] {
        for (c, n, d) in [(1, 2, 1), (2, 7, 5), (3, 40, 33), (1, 256, 130)] {
            let x = || Feed::uniform([c, n, d]);
            let inputs = vec![x(), x(), Feed::range([c, d], 0.5, 2.0)];
            v.push(
                Case::new(StandardizeColumnsGrad { deviation }, inputs)
                    .depth(n)
                    .condition(4.0)
                    .note(note(deviation)),
            );
        }
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "standardize_columns_grad",
            find: "q / p.divisor",
            replace: "q / f32(p.n)",
        },
        Mutation {
            kernel: "standardize_columns_grad",
            find: "- y[j] * along",
            replace: "- along",
        },
        Mutation {
            kernel: "standardize_columns_grad",
            find: "dy[j] - mean",
            replace: "dy[j]",
        },
    ]
}
