//! Cases of `cast_f32`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::cast_f32::CastF32;

pub(super) fn cases() -> Vec<Case> {
    [1usize, 2, 3, 63, 128, 129, 1000, 65537]
        .into_iter()
        .map(|n| {
            // Every exponent (subnormals too) but that of infinities and NaN.
            let bits = |i: usize| ((i * 0x9e37) as u16 & 0x83ff) | (i as u16 % 31) << 10;
            let values = (0..n)
                .map(|i| half::f16::from_bits(bits(i)).to_f32())
                .collect();
            Case::new(CastF32, vec![Feed::values([n], values)]).in_f16(&[0])
        })
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "cast_f32",
        find: "m << 13u",
        replace: "m << 12u",
    }]
}
