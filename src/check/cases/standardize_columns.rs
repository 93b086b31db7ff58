//! Cases of `standardize_columns`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::standardize_columns::{Deviation, StandardizeColumns};

pub(super) fn cases() -> Vec<Case> {
    // The deviation of a few values may be a tenth of their size: its error counts ten times.
    let mut v = Vec::new();
    for deviation in [Deviation::Unbiased, Deviation::BatchNorm] {
        for (c, n, d) in [(1, 2, 1), (2, 7, 5), (3, 40, 33), (1, 256, 130)] {
            let op = StandardizeColumns { deviation };
            let case = Case::new(op, vec![Feed::uniform([c, n, d])])
                .depth(n)
                .condition(16.0)
                .loss_outputs(1)
                .note(note(deviation));
            v.push(if n > 2 { case.grads(&[0]) } else { case });
        }
    }
    // Constant columns, of which the first is not the only one, and columns of a deviation that eps counts in.
    let values = (0..7 * 5).map(|i| match i % 5 {
        0 | 3 => 0.5,
        j => (i / 5 * 3 % 7) as f32 * 1e-3 * j as f32,
    });
    let deviation = Deviation::BatchNorm;
    v.push(
        Case::new(
            StandardizeColumns { deviation },
            vec![Feed::values([1, 7, 5], values.collect())],
        )
        .depth(7)
        .condition(16.0)
        .note("constant columns"),
    );
    v
}

/// What a case's name says of the deviation.
pub(super) fn note(deviation: Deviation) -> &'static str {
    match deviation {
        Deviation::BatchNorm => "as batch norm",
        Deviation::Unbiased => "",
    }
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "standardize_columns",
            find: "q / p.divisor",
            replace: "q / f32(p.n)",
        },
        Mutation {
            kernel: "standardize_columns",
            find: "q / p.divisor",
            replace: "q / f32(p.n - 1u)",
        },
        Mutation {
            kernel: "standardize_columns",
            find: "+ p.eps",
            replace: "",
        },
        Mutation {
            kernel: "standardize_columns",
            find: "(x[at + i * p.d] - mean) * k",
            replace: "x[at + i * p.d] * k",
        },
    ]
}
