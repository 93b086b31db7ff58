//! Cases of `lars_trust`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::lars_trust::LarsTrust;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (blocks, segments) in [
        (1, 1),
        (2, 2),
        (3, 1),
        (7, 5),
        (64, 3),
        (65, 13),
        (131, 4),
        (4099, 67),
    ] {
        let n = blocks * 64;
        // Blocks of a segment stand together, as in a flat group; every third segment is excluded.
        let segment = (0..blocks)
            .map(|b| (b * segments / blocks) as u32)
            .collect();
        let table = (0..segments)
            .flat_map(|s| [1.0, 1e-2, if s % 3 == 2 { -1.0 } else { 0.0 }, 0.0])
            .collect();
        let inputs = vec![
            Feed::uniform([n]),
            Feed::range([n], -3.0, 3.0),
            Feed::words([blocks], segment),
            Feed::values([segments, 4], table),
        ];
        let of_step = blocks % 2 == 1;
        v.push(Case::new(LarsTrust { eta: 0.5, of_step }, inputs).depth(n));
    }
    let zero = vec![
        Feed::uniform([64]),
        Feed::values([64], vec![0.0; 64]),
        Feed::words([1], vec![0]),
        Feed::values([1, 4], vec![1.0, 0.1, 0.0, 0.0]),
    ];
    let op = LarsTrust {
        eta: 0.5,
        of_step: false,
    };
    v.push(Case::new(op, zero).note("zero parameters"));
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "lars_trust",
            find: "n.y + row.y * n.x",
            replace: "n.y",
        },
        Mutation {
            kernel: "lars_trust",
            find: "fma(vec4<f32>(decay), a, grad[b * 16u + i])",
            replace: "grad[b * 16u + i]",
        },
        Mutation {
            kernel: "lars_trust",
            find: "row.z >= 0.0 && ",
            replace: "",
        },
    ]
}
