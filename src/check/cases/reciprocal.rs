//! Cases of `reciprocal`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::reciprocal::Reciprocal;

pub(super) fn cases() -> Vec<Case> {
    let mut v: Vec<Case> = [
        (1, 0.5, 1.0),
        (3, -0.5, 1.0),
        (64, 0.1, 0.2),
        (1000, 0.3, 0.7),
        (16385, -0.2, 1.0),
    ]
    .map(|(n, a, b)| Case::new(Reciprocal { a, b }, vec![Feed::uniform([n])]).condition(8.0))
    .into();
    v.push(
        Case::new(
            Reciprocal { a: 1.0, b: 0.0 },
            vec![Feed::values([3], vec![0.0, -4.0, 2.0])],
        )
        .note("kept away from zero"),
    );
    for n in [7, 64] {
        let x = Feed::uniform([n]).with_nan(&[0, 2, 5]);
        v.push(
            Case::new(Reciprocal { a: 0.3, b: 1.0 }, vec![x])
                .condition(8.0)
                .note("not a number"),
        );
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "reciprocal",
            find: "p.a * x[i] + E(p.b)",
            replace: "p.a * x[i] - E(p.b)",
        },
        Mutation {
            kernel: "reciprocal",
            find: ", 1e-6)",
            replace: ", 1e-3)",
        },
        Mutation {
            kernel: "reciprocal",
            find: "at_least(p.a * x[i] + E(p.b), 1e-6)",
            replace: "max(p.a * x[i] + E(p.b), E(1e-6))",
        },
    ]
}
