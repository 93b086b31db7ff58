//! Cases of `max_pool`.

use super::with_halves;
use crate::check::{Case, Feed, Mutation};
use crate::ops::max_pool::MaxPool;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (n, h, w, c, kernel, stride, padding) in [
        (1, 1, 1, 1, 1, 1, 0),
        (2, 8, 8, 4, 3, 2, 1),
        (3, 7, 5, 13, 3, 2, 1),
        (2, 6, 9, 3, 2, 2, 0),
        (2, 5, 5, 2, 3, 1, 1),
        (1, 11, 7, 5, 5, 3, 2),
        (1, 9, 9, 1, 2, 3, 1),
        (4, 16, 16, 64, 3, 2, 1),
    ] {
        // Distinct values, further apart than the central differences' step; negative, so that zero padding would show.
        let total = n * h * w * c;
        let values = (0..total)
            .map(|i| -1.0 - ((i * 7919) % total) as f32 * 4e-3)
            .collect();
        let differences = total <= 2000 && total % 7919 != 0;
        let case = Case::new(
            MaxPool {
                kernel,
                stride,
                padding,
            },
            vec![Feed::values([n, h, w, c], values)],
        )
        .note(&format!(
            "kernel {kernel} stride {stride} padding {padding}"
        ));
        v.push(if differences { case.grads(&[0]) } else { case });
    }
    // The last NaN of a window wins, first or last in it, beside larger numbers.
    for c in [3, 4] {
        let x = Feed::uniform([2, 7, 7, c]).with_nan(&[0, 40, 43, 100, 200]);
        let op = MaxPool {
            kernel: 3,
            stride: 2,
            padding: 1,
        };
        v.push(Case::new(op, vec![x]).note("not a number"));
    }
    with_halves(v, &[0])
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "max_pool",
            find: "v > best",
            replace: "v < best",
        },
        Mutation {
            kernel: "max_pool",
            find: "min(i * p.stride + p.kernel - p.padding, p.h)",
            replace: "min(i * p.stride + p.kernel - p.padding - 1u, p.h)",
        },
        Mutation {
            kernel: "max_pool",
            find: "let nan = is_nan(v);",
            replace: "let nan = false;",
        },
    ]
}
