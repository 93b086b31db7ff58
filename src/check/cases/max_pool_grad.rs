//! Cases of `max_pool_grad`.

use super::with_halves;
use crate::check::{Case, Feed, Mutation};
use crate::ops::max_pool::MaxPool;
use crate::ops::max_pool_grad::MaxPoolGrad;

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
        let out = |s: usize| (s + 2 * padding - kernel) / stride + 1;
        let (oh, ow) = (out(h), out(w));
        // A place of each window in turn.
        let place = |i: usize, o: usize, side: usize| {
            let window =
                (o * stride).saturating_sub(padding)..(o * stride + kernel - padding).min(side);
            window.start + i % window.len()
        };
        let argmax = (0..n * oh * ow * c)
            .map(|i| {
                let (row, column) = (i / c / ow % oh, i / c % ow);
                (place(i * 5 / 3, row, h) * w + place(i * 3, column, w)) as u32
            })
            .collect();
        let inputs = vec![
            Feed::uniform([n, oh, ow, c]),
            Feed::words([n, oh, ow, c], argmax),
        ];
        let op = MaxPoolGrad {
            pool: MaxPool {
                kernel,
                stride,
                padding,
            },
            input: [n, h, w, c].into(),
        };
        v.push(Case::new(op, inputs).depth(kernel * kernel).note(&format!(
            "kernel {kernel} stride {stride} padding {padding}"
        )));
    }
    with_halves(v, &[0])
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "max_pool_grad",
            find: "s = s + f32(dy[o])",
            replace: "s = f32(dy[o])",
        },
        Mutation {
            kernel: "max_pool_grad",
            find: "/ p.stride + 1u, p.oh",
            replace: "/ p.stride, p.oh",
        },
    ]
}
