//! Cases of `global_avg_pool`.

use super::with_halves;
use crate::check::{Case, Feed, Mutation};
use crate::ops::global_avg_pool::GlobalAvgPool;

pub(super) fn cases() -> Vec<Case> {
    let v = [
        (1, 1, 1, 1),
        (2, 4, 4, 8),
        (3, 7, 5, 13),
        (8, 8, 8, 64),
        (3, 31, 17, 4),
        (2, 3, 3, 260),
        (40, 1, 1, 128),
        (3, 33, 2, 67),
    ]
    .into_iter()
    .map(|(n, h, w, c)| {
        Case::new(GlobalAvgPool, vec![Feed::range([n, h, w, c], 0.5, 1.5)])
            .depth(h * w)
            .grads(&[0])
    })
    .collect();
    with_halves(v, &[0])
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "global_avg_pool",
            find: "lanes[l] * p.inv_m",
            replace: "lanes[l]",
        },
        Mutation {
            kernel: "global_avg_pool",
            find: "for (; k < w.count; k",
            replace: "for (; k + 1u < w.count; k",
        },
        Mutation {
            kernel: "global_avg_pool",
            find: "i = i + FLIGHT * w.step;",
            replace: "i = i + (FLIGHT - 1u) * w.step;",
        },
    ]
}
