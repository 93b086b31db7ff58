//! Cases of `standardize_rows`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::standardize_rows::StandardizeRows;

pub(super) fn cases() -> Vec<Case> {
    let op = StandardizeRows { eps: 1e-6 };
    let mut v: Vec<Case> = [(1, 2), (3, 7), (70, 48), (5, 192), (9, 768)]
        .map(|(n, d)| Case::new(op, vec![Feed::uniform([n, d])]).depth(d))
        .into();
    // A patch of one colour: what rounding leaves of its mean would be divided by 1e-3.
    let flat = [1000.1f32, -0.7, 0.0].into_iter();
    let flat = flat.flat_map(|v| std::iter::repeat_n(v, 48));
    let grain = (0..48).map(|i| if i % 3 == 0 { 1e-3 } else { 0.0 });
    let values = flat.chain(grain).collect();
    v.push(
        Case::new(op, vec![Feed::values([4, 48], values)])
            .note("flat rows")
            .depth(48),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "standardize_rows",
            find: "f32(p.d - 1u)",
            replace: "f32(p.d)",
        },
        Mutation {
            kernel: "standardize_rows",
            find: "(x[at + i] - m - delta) * inv",
            replace: "(x[at + i] - m) * inv",
        },
    ]
}
