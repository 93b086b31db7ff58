//! Cases of `mask_ranks`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::mask_ranks::MaskRanks;

pub(super) fn cases() -> Vec<Case> {
    let mut v: Vec<Case> = [
        (1, 1, 1),
        (3, 196, 49),
        (2, 49, 19),
        (70, 64, 16),
        (5, 9, 9),
        (300, 64, 32),
    ]
    .map(|(b, n, keep)| {
        let noise = Feed::range([b, n], 0.0, 1.0);
        Case::new(MaskRanks { keep }, vec![noise]).note(&format!("keep {keep}"))
    })
    .into();
    // Many equal values: ranks still are all different.
    let equal = (0..3 * 37).map(|i| (i * i % 5) as f32).collect();
    let case = Case::new(MaskRanks { keep: 10 }, vec![Feed::values([3, 37], equal)]);
    v.push(case.note("equal values"));
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "mask_ranks",
            find: "(v == own && j < i)",
            replace: "(v == own && j > i)",
        },
        Mutation {
            kernel: "mask_ranks",
            find: "select(1.0, 0.0, before < p.keep)",
            replace: "select(1.0, 0.0, before <= p.keep)",
        },
    ]
}
