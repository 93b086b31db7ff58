//! Cases of `cast_f16`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::cast_f16::CastF16;

pub(super) fn cases() -> Vec<Case> {
    let mut v: Vec<Case> = [1, 2, 3, 63, 128, 129, 1000, 65537]
        .into_iter()
        .map(|n| Case::new(CastF16, vec![Feed::normal([n])]))
        .collect();
    // Ties both ways, the ends of the normal and subnormal ranges, overflow.
    let unit = 2f32.powi(-24);
    let mut values = vec![
        0.0,
        1.0 + 2f32.powi(-11),
        1.0 + 3.0 * 2f32.powi(-11),
        65504.0,
        65519.99,
        65520.0,
        1e30,
        f32::INFINITY,
    ];
    values.extend([
        0.5 * unit,
        0.50001 * unit,
        1.5 * unit,
        2.5 * unit,
        1023.0 * unit,
        1023.5 * unit,
        1024.0 * unit,
        1e-9,
    ]);
    values.extend(values.clone().iter().map(|v| -v));
    v.push(Case::new(CastF16, vec![Feed::values([32], values)]).note("edges"));
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "cast_f16",
            find: "((a >> 13u) & 1u)",
            replace: "1u",
        },
        Mutation {
            kernel: "cast_f16",
            find: "half(high) << 16u",
            replace: "half(high) << 15u",
        },
    ]
}
