//! Cases of `centre_scores_grad`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::centre_scores::CentreScores;
use crate::ops::centre_scores_grad::CentreScoresGrad;

pub(super) fn cases() -> Vec<Case> {
    [
        (1, 2, 2, true),
        (3, 6, 6, true),
        (2, 70, 70, true),
        (2, 5, 9, false),
        (3, 1, 130, false),
    ]
    .map(|(c, a, n, square)| {
        let x = || Feed::uniform([c, a, n]);
        let inputs = vec![x(), x(), Feed::uniform([c]), Feed::range([1], 0.5, 2.0)];
        // The gain's gradient sums all elements of random sign: its error is that of the sum of their sizes.
        Case::new(
            CentreScoresGrad {
                scores: CentreScores {
                    square,
                    offset: -2.5,
                },
            },
            inputs,
        )
        .depth(c * a * n)
        .condition(16.0)
    })
    .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "centre_scores_grad",
            find: "sum[row / p.a] / pairs()",
            replace: "sum[row / p.a]",
        },
        Mutation {
            kernel: "centre_scores_grad",
            find: "gain = gain + s.y;",
            replace: "gain = s.x;",
        },
    ]
}
