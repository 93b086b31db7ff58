//! Cases of `swap_axes`.

use super::with_halves;
use crate::check::{Case, Feed, Mutation};
use crate::ops::swap_axes::SwapAxes;

pub(super) fn cases() -> Vec<Case> {
    let v = [
        [1, 2, 3, 4],
        [3, 4, 5, 7],
        [2, 8, 64, 16],
        [1, 3, 1, 5],
        [5, 1, 2, 3],
        [1, 8, 512, 64],
    ]
    .into_iter()
    .map(|axes| {
        let n: usize = axes.iter().product();
        let [p, a, b, c] = axes;
        let case = Case::new(
            SwapAxes {
                axes,
                out: [p * b, a * c].into(),
            },
            vec![Feed::uniform(axes)],
        );
        if n < 1000 { case.grads(&[0]) } else { case }
    })
    .collect();
    with_halves(v, &[0])
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "swap_axes",
        find: "(outer * p.a + a) * p.b + b",
        replace: "(outer * p.b + b) * p.a + a",
    }]
}
