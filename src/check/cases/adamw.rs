//! Cases of `adamw`.

use crate::check::{Case, Feed, Mutation};
use crate::graph::StepScalars;
use crate::ops::adamw::AdamW;

pub(super) fn cases() -> Vec<Case> {
    let table = || Feed::values([2, 4], vec![1.0, 0.05, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0]);
    let mut v = Vec::new();
    for (blocks, at, max_norm, norm2, halt) in [
        (1, 0, 0.0, 4.0, 0),
        (1, 1, 0.0, 4.0, 0),
        (3, 6, 0.0, 4.0, 0),
        (70, 400, 1.0, 16.0, 0),
        (5, 100_000, 10.0, 4.0, 0),
        (2, 6, 1.0, f32::NAN, 0),
        (2, 6, 1.0, f32::INFINITY, 0),
        (1, 6, 0.0, 1.0, 3),
    ] {
        let n = blocks * 64;
        let step = StepScalars {
            lr: 0.1,
            step: at,
            ..StepScalars::default()
        };
        let op = AdamW {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            max_norm,
        };
        let inputs = vec![
            Feed::uniform([n]),
            Feed::values([1], vec![norm2]),
            Feed::index([blocks], 2),
            table(),
        ];
        let updates = vec![
            Feed::uniform([n]),
            Feed::uniform([n]),
            Feed::range([n], 0.01, 1.0),
            Feed::words([1], vec![halt]),
        ];
        // The step divides by 1 - beta2^t, small at first: m / sqrt(v) is then about 1/sqrt(0.001) of the parameters'
        // size.
        let note = format!("step {at} clip {max_norm} norm2 {norm2} halt {halt}");
        v.push(
            Case::new(op, inputs)
                .updates(updates)
                .step(step)
                .condition(4.0)
                .note(&note),
        );
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "adamw",
            find: "(1.0 - lr * row.y)",
            replace: "(1.0 + lr * row.y)",
        },
        Mutation {
            kernel: "adamw",
            find: "segment[i / 16u]",
            replace: "segment[i / 32u]",
        },
        Mutation {
            kernel: "adamw",
            find: "v1 / correction(t * p.log_beta2)",
            replace: "v1",
        },
    ]
}
