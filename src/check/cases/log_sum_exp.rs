//! Cases of `log_sum_exp`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::log_sum_exp::LogSumExp;

pub(super) fn cases() -> Vec<Case> {
    let mut v: Vec<Case> = [(1, 1), (3, 7), (5, 64), (33, 130), (200, 3)]
        .map(|(n, d)| {
            Case::new(LogSumExp, vec![Feed::range([n, d], -4.0, 4.0)])
                .depth(d)
                .condition(8.0)
                .grads(&[0])
        })
        .into();
    v.push(
        Case::new(LogSumExp, vec![Feed::range([3, 40], 900.0, 1000.0)])
            .note("large")
            .depth(40),
    );
    // A NaN makes its row NaN, and no other.
    v.push(
        Case::new(LogSumExp, vec![Feed::uniform([5, 70]).with_nan(&[3, 150])])
            .note("not a number")
            .depth(70)
            .condition(8.0),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "log_sum_exp",
            find: "m + of_number(log(s), s)",
            replace: "of_number(log(s), s)",
        },
        Mutation {
            kernel: "log_sum_exp",
            find: "x[at + i] - m)",
            replace: "x[at + i])",
        },
    ]
}
