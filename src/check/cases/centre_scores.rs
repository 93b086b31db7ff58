//! Cases of `centre_scores`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::centre_scores::CentreScores;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (c, a, n, square) in [
        (1, 2, 2, true),
        (3, 6, 6, true),
        (2, 70, 70, true),
        (2, 5, 9, false),
        (3, 1, 130, false),
    ] {
        let op = CentreScores {
            square,
            offset: -2.5,
        };
        // A constant of 2.5 beside differences of cosines.
        let case = Case::new(
            op,
            vec![Feed::uniform([c, a, n]), Feed::range([1], 0.5, 2.0)],
        )
        .depth(n)
        .condition(4.0)
        .loss_outputs(1);
        v.push(if n <= 10 { case.grads(&[0, 1]) } else { case });
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "centre_scores",
            find: "|| j != row % p.a",
            replace: "|| true",
        },
        Mutation {
            kernel: "centre_scores",
            find: "- mean[t / (p.a * p.n)]",
            replace: "+ mean[t / (p.a * p.n)]",
        },
    ]
}
