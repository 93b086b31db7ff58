//! Cases of `attention_row`.

use super::attention::SHAPES;
use crate::check::{Case, Feed, Mutation};
use crate::ops::attention::Attention;
use crate::ops::attention_row::AttentionRow;

pub(super) fn cases() -> Vec<Case> {
    let case = |[b, n, heads, width]: [usize; 4], token: usize, size: f32| {
        let op = AttentionRow {
            attention: Attention::new(heads * width, heads),
            token,
        };
        let qkv = Feed::range([b, n, 3 * heads * width], -size, size);
        Case::new(op, vec![qkv])
            .note(&format!("heads {heads} token {token}"))
            .depth(n.max(width))
    };
    // The first token of every shape; of two also another one.
    let mut v: Vec<Case> = SHAPES.map(|s| case(s, 0, 1.0)).into();
    v.push(case([2, 37, 2, 24], 36, 1.0));
    // Logits of a few hundred, as in `attention`.
    v.push(case([1, 131, 2, 13], 64, 9.0).condition(300.0));
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    let m = |find, replace| Mutation {
        kernel: "attention_row",
        find,
        replace,
    };
    vec![
        m("first + TOKEN * stride", "first"),
        m("+ HEADS * WIDTH;", "+ 2u * HEADS * WIDTH;"),
        m("s = s * p.a;", ""),
        m("exp(w[at + j] - m) * inv", "exp(w[at + j] - m)"),
        m("row % HEADS * WIDTH", "0u"),
    ]
}
