//! Cases of `level_embedding`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::level_embedding::LevelEmbedding;

pub(super) fn cases() -> Vec<Case> {
    // exp2 of numbers down to -13.3 may be wrong by 3 + 2 * 13.3 units, and the angle with it: 30 of the 8 in the
    // bound.
    let case = |b: usize, dim: usize, most: f32| {
        Case::new(LevelEmbedding { dim }, vec![Feed::range([b], 0.0, most)])
            .note(&format!("dim {dim}, up to {most}"))
            .condition(4.0)
    };
    vec![
        case(1, 4, 0.1),
        case(5, 128, 0.05),
        case(70, 34, 0.1),
        case(300, 48, 6.0),
        // The angle's own rounding is relative to the angle.
        case(9, 64, 300.0).condition(300.0),
    ]
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "level_embedding",
            find: "y[at] = v.y;",
            replace: "y[at] = v.x;",
        },
        Mutation {
            kernel: "level_embedding",
            find: "exp2(p.a * f32(i))",
            replace: "exp2(p.a * f32(i) * 0.9)",
        },
    ]
}
