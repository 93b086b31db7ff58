//! Cases of `masked_mse`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::masked_mse::MaskedMse;

/// Rows and their length.
pub(super) const SHAPES: [(usize, usize); 5] = [(1, 1), (3, 7), (70, 48), (9, 192), (5, 768)];

/// pred, target and a mask of zeros and ones.
pub(super) fn inputs((n, d): (usize, usize)) -> Vec<Feed> {
    let mask = (0..n).map(|i| f32::from(u8::from(i % 4 != 1))).collect();
    vec![
        Feed::uniform([n, d]),
        Feed::uniform([n, d]),
        Feed::values([n], mask),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let all = [false, true]
        .into_iter()
        .flat_map(|i| SHAPES.map(|s| (i, s)));
    all.map(|(invert, shape)| {
        Case::new(MaskedMse { invert }, inputs(shape))
            .note(&format!("invert {invert}"))
            .depth(shape.1)
            .grads(&[0])
    })
    .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "masked_mse",
            find: "select(mask[row], 1.0 - mask[row], p.a == 1.0)",
            replace: "mask[row]",
        },
        Mutation {
            kernel: "masked_mse",
            find: "* s / f32(p.d)",
            replace: "* s",
        },
    ]
}
