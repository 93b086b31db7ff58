//! Cases of `mix_images`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::mix_images::MixImages;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for [n, h, w, c] in [[1, 1, 1, 1], [5, 7, 3, 3], [64, 8, 8, 3], [3, 32, 32, 3]] {
        // No box, a box at a corner, a box inside, the whole image.
        let table: Vec<f32> = (0..n)
            .flat_map(|i| {
                let [share, top, left, tall, wide] = match i % 4 {
                    0 => [0.3, 0.0, 0.0, 0.0, 0.0],
                    1 => [1.0, 0.0, 0.0, (h / 2) as f64, (w / 2 + 1) as f64],
                    2 => [0.8, (h / 3) as f64, (w / 2) as f64, 1.0, 1.0],
                    _ => [1.0, 0.0, 0.0, h as f64, w as f64],
                };
                [share, top, left, tall, wide].map(|v| v as f32)
            })
            .collect();
        for reversed in [false, true] {
            let images = || Feed::uniform([n, h, w, c]);
            let inputs = vec![images(), images(), Feed::values([n, 5], table.clone())];
            let case = Case::new(MixImages { reversed }, inputs).depth(2);
            v.push(if reversed {
                case.note("reversed")
            } else {
                case
            });
        }
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "mix_images",
            find: "all(place < behind)",
            replace: "all(place <= behind)",
        },
        Mutation {
            kernel: "mix_images",
            find: "p.total / p.image - 1u - i",
            replace: "i",
        },
    ]
}
