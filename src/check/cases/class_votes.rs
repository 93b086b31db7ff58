//! Cases of `class_votes`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::class_votes::ClassVotes;
use crate::reference::class_votes::Weight;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (rows, k, classes) in [(1, 1, 1), (3, 5, 10), (70, 20, 3), (9, 200, 100)] {
        for t in [0.07, 0.5] {
            let op = ClassVotes {
                classes,
                weight: Weight::Similarity { t },
            };
            // Some labels are of no class. exp's argument, up to 2/t, rounds; its error is a factor of that many eps.
            let inputs = vec![
                Feed::uniform([rows, k]),
                Feed::index([rows, k], classes as u32 + 2),
            ];
            v.push(
                Case::new(op, inputs)
                    .depth(k)
                    .condition(f64::from(2.0 / t))
                    .note(&format!("similarities, t {t}")),
            );
        }
        let op = ClassVotes {
            classes,
            weight: Weight::SquaredDistance,
        };
        let inputs = vec![
            Feed::range([rows, k], 0.01, 4.0),
            Feed::index([rows, k], classes as u32 + 2),
        ];
        v.push(
            Case::new(op, inputs)
                .depth(k)
                .condition(2.0)
                .note("squared distances"),
        );
    }
    // A NaN, first or last of a row or between, is the row's largest value: whatever has a vote there has no number.
    let op = ClassVotes {
        classes: 3,
        weight: Weight::Similarity { t: 0.5 },
    };
    let similarities = Feed::uniform([4, 7]).with_nan(&[0, 10, 20]);
    v.push(
        Case::new(op, vec![similarities, Feed::index([4, 7], 5)])
            .depth(7)
            .condition(4.0)
            .note("not a number"),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "class_votes",
            find: "- top) * p.per_t",
            replace: ") * p.per_t",
        },
        Mutation {
            kernel: "class_votes",
            find: "sqrt(v[at + i])",
            replace: "v[at + i]",
        },
        Mutation {
            kernel: "class_votes",
            find: "label[at + i] == c",
            replace: "label[i] == c",
        },
        Mutation {
            kernel: "class_votes",
            find: "if is_nan(v[at + i]) {",
            replace: "if false {",
        },
    ]
}
