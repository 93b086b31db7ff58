//! Cases of `attention`.

use super::with_halves;
use crate::check::{Case, Feed, Mutation};
use crate::ops::attention::Attention;

/// Images, tokens, heads, columns of a head.
pub(super) const SHAPES: [[usize; 4]; 13] = [
    [1, 1, 1, 7],
    [2, 5, 2, 8],
    [3, 6, 5, 1],
    [1, 17, 3, 64],
    [2, 37, 2, 24],
    [2, 50, 3, 5],
    [1, 65, 2, 13],
    [3, 64, 2, 20],
    [1, 99, 1, 32],
    [1, 145, 1, 12],
    [1, 197, 1, 16],
    // Columns in several chunks.
    [1, 70, 1, 65],
    [1, 9, 1, 132],
];

pub(super) fn cases() -> Vec<Case> {
    let case = |[b, n, heads, width]: [usize; 4], size: f32| {
        let op = Attention::new(heads * width, heads);
        let qkv = Feed::range([b, n, 3 * heads * width], -size, size);
        Case::new(op, vec![qkv])
            .note(&format!("heads {heads}"))
            .loss_outputs(1)
            .depth(n.max(width))
    };
    let mut v = with_halves(SHAPES.map(|s| case(s, 1.0).grads(&[0])).into(), &[0]);
    // Logits of a few hundred: what rounding does to one is relative to it, and its weight's error absolute.
    let large = case([1, 131, 2, 13], 9.0).condition(300.0);
    v.push(large.note("heads 2, large logits"));
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    let m = |find, replace| Mutation {
        kernel: "attention",
        find,
        replace,
    };
    vec![
        m(
            "select(vec4<f32>(NONE), s[ii] * p.scale2, valid)",
            "s[ii] * p.scale2",
        ),
        m("total[ii] * shrink[ii]", "total[ii]"),
        m("sums.a[ii] * shrink[ii]", "sums.a[ii]"),
        m("sums_a[c] * shrink.x", "sums_a[c]"),
        m("sums_b[c] * shrink.y", "sums_b[c] * shrink.x"),
        m("all_exist(s.b * p.scale2, j0, NONE)", "s.b * p.scale2"),
        m(
            "own.column == 0u && l == row",
            "own.column == 64u && l == row",
        ),
    ]
}
