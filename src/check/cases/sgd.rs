//! Cases of `sgd`.

use crate::check::{Case, Feed, Mutation};
use crate::graph::StepScalars;
use crate::ops::sgd::Sgd;

pub(super) fn cases() -> Vec<Case> {
    let step = StepScalars {
        lr: 0.1,
        step: 6,
        ..StepScalars::default()
    };
    let table = || Feed::values([2, 4], vec![1.0, 5e-4, 0.0, 0.0, 0.1, 1e-4, 0.3, 0.0]);
    let mut v = Vec::new();
    for (blocks, nesterov, max_norm, norm2) in [
        (1, false, 0.0, 4.0),
        (3, true, 0.0, 4.0),
        (70, false, 1.0, 16.0),
        (5, false, 10.0, 4.0),
        (2, false, 1.0, f32::NAN),
        (2, false, 1.0, f32::INFINITY),
    ] {
        let n = blocks * 64;
        let op = Sgd {
            momentum: 0.9,
            nesterov,
            max_norm,
        };
        let inputs = vec![
            Feed::uniform([n]),
            Feed::values([1], vec![norm2]),
            Feed::index([blocks], 2),
            table(),
        ];
        let updates = || {
            vec![
                Feed::uniform([n]),
                Feed::uniform([n]),
                Feed::words([1], vec![0]),
            ]
        };
        v.push(
            Case::new(op, inputs)
                .updates(updates())
                .step(step)
                .note(&format!(
                    "nesterov {nesterov} clip {max_norm} norm2 {norm2}"
                )),
        );
    }
    let inputs = vec![
        Feed::uniform([64]),
        Feed::values([1], vec![1.0]),
        Feed::index([1], 2),
        table(),
    ];
    let updates = vec![
        Feed::uniform([64]),
        Feed::uniform([64]),
        Feed::words([1], vec![3]),
    ];
    v.push(
        Case::new(
            Sgd {
                momentum: 0.9,
                nesterov: false,
                max_norm: 0.0,
            },
            inputs,
        )
        .updates(updates)
        .step(step)
        .note("halted before"),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "sgd",
            find: "row.z > 0.0)",
            replace: "row.z > 9.0)",
        },
        Mutation {
            kernel: "sgd",
            find: "fma(vec4<f32>(row.y), w0, clip * g)",
            replace: "(clip * g)",
        },
        Mutation {
            kernel: "sgd",
            find: "segment[i / 16u]",
            replace: "segment[i / 32u]",
        },
        Mutation {
            kernel: "sgd",
            find: "clip = min(1.0, p.max_norm",
            replace: "clip = min(2.0, p.max_norm",
        },
    ]
}
