//! Cases of `cast_f32`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::cast_f32::CastF32;

pub(super) fn cases() -> Vec<Case> {
    [1usize, 2, 3, 63, 128, 129, 1000, 65537]
        .into_iter()
        .map(|n| {
            // Every exponent (subnormals too) but that of infinities and NaN.
            let half = |i: usize| ((i * 0x9e37) as u32 & 0x83ff) | (i as u32 % 31) << 10;
            let words = (0..n.div_ceil(2)).map(|i| half(2 * i) | half(2 * i + 1) << 16).collect();
            Case::new(CastF32 { shape: [n].into() }, vec![Feed::words([n.div_ceil(2)], words)])
        })
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation { kernel: "cast_f32", find: "m << 13u", replace: "m << 12u" },
    ]
}
