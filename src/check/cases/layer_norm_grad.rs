//! Cases of `layer_norm_grad`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::layer_norm_grad::LayerNormGrad;

pub(super) fn cases() -> Vec<Case> {
    let shapes = [
        (1, 1),
        (3, 7),
        (70, 64),
        (65, 37),
        (1100, 8),
        (5000, 5),
        (300, 132),
        (15, 1030),
        (9, 768),
    ];
    let mut v: Vec<Case> = Vec::new();
    for (n, d) in shapes {
        let inputs = vec![
            Feed::uniform([n, d]),
            Feed::uniform([n, d]),
            Feed::range([d], 0.5, 1.5),
            Feed::range([n], -0.1, 0.1),
            Feed::range([n], 0.5, 2.0),
        ];
        // The sums of signed terms are smaller than their terms: 4 of cancellation, as for batch norm.
        let case = Case::new(LayerNormGrad, inputs);
        v.push(case.depth(n.max(d)).condition(4.0));
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    let m = |find, replace| Mutation {
        kernel: "layer_norm_grad",
        find,
        replace,
    };
    vec![
        m(
            "(g[i] - E(s.x) - h[i] * s.y) * r",
            "(g[i] - h[i] * s.y) * r",
        ),
        m("- (x[at + c] - m) * (r * s.y)", ""),
        m("sb[i] = sb[i] + d;", "sb[i] = d;"),
        m("sb = sb + d;", "sb = d;"),
        m("let to = (p.first + run)", "let to = (p.first + run / 2u)"),
    ]
}
