//! Cases of `pixel_noise`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::pixel_noise::PixelNoise;

pub(super) fn cases() -> Vec<Case> {
    [[1, 1, 1, 1], [3, 5, 7, 3], [2, 32, 32, 3], [64, 4, 4, 3]]
        .map(|[b, h, w, c]| {
            let shape = [h, w, c].into();
            let inputs = vec![Feed::index([b, 5], u32::MAX), Feed::range([b], 0.01, 0.1)];
            // Angle and logarithm are of numbers of 24 bits; the root of the smallest logarithms doubles what they are
            // wrong by relatively, and the angle's error is relative to a whole turn.
            Case::new(PixelNoise { shape }, inputs)
                .note(&format!("{h}x{w}x{c}"))
                .condition(4.0)
        })
        .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "pixel_noise",
            find: "words[at + 4u])",
            replace: "words[at + 3u])",
        },
        Mutation {
            kernel: "pixel_noise",
            find: "* level[image]",
            replace: "* level[0]",
        },
    ]
}
