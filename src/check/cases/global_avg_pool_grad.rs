//! Cases of `global_avg_pool_grad`.

use crate::check::{Case, Feed, Mutation};
use crate::graph::TensorType;
use crate::ops::global_avg_pool_grad::GlobalAvgPoolGrad;

pub(super) fn cases() -> Vec<Case> {
    [(1, 1, 1, 1), (2, 4, 4, 8), (3, 7, 5, 13)]
        .into_iter()
        .map(|(n, h, w, c)| {
            Case::new(
                GlobalAvgPoolGrad {
                    input: TensorType::f32([n, h, w, c]),
                },
                vec![Feed::uniform([n, c])],
            )
        })
        .chain([Case::new(
            GlobalAvgPoolGrad {
                input: TensorType::f16([3, 5, 7, 12]),
            },
            vec![Feed::uniform([3, 12])],
        )
        .note("f16")])
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "global_avg_pool_grad",
        find: "* p.inv",
        replace: "",
    }]
}
