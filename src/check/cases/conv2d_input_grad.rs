//! Cases of `conv2d_input_grad`.

use super::conv2d::SHAPES;
use super::with_halves;
use crate::check::{Case, Feed, Mutation};
use crate::ops::conv2d_input_grad::Conv2dInputGrad;

pub(super) fn cases() -> Vec<Case> {
    let v = SHAPES
        .iter()
        .map(|&(n, h, w, c, k, r, stride, pad)| {
            let (p, q) = (
                (h + 2 * pad - r) / stride + 1,
                (w + 2 * pad - r) / stride + 1,
            );
            let op = Conv2dInputGrad {
                input: [n, h, w, c].into(),
                stride,
                padding: pad,
            };
            Case::new(
                op,
                vec![Feed::uniform([n, p, q, k]), Feed::uniform([k, r, r, c])],
            )
            .note(&format!("stride {stride} padding {pad}"))
            .depth(r * r * k)
        })
        .collect();
    with_halves(v, &[0, 1])
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "conv2d_input_grad",
            find: "r = (h0 + p.pad) % p.stride",
            replace: "r = h0 % p.stride",
        },
        Mutation {
            kernel: "conv2d_input_grad",
            find: "+ p.pad);",
            replace: "+ p.pad + 1u);",
        },
        // The tiles of GPUs: a phase's columns, its taps, where its pixels go.
        Mutation {
            kernel: "conv2d_input_grad",
            find: "count(w0, p.w)",
            replace: "count(h0, p.w)",
        },
        Mutation {
            kernel: "conv2d_input_grad",
            find: "column_3(w)",
            replace: "column_2(w)",
        },
        Mutation {
            kernel: "conv2d_input_grad",
            find: "lane, at, row, c0 + 16u)",
            replace: "lane, at, row, c0)",
        },
        Mutation {
            kernel: "conv2d_input_grad",
            find: "at + which / 4u * row",
            replace: "at",
        },
        Mutation {
            kernel: "conv2d_input_grad",
            find: "square[fast * 17u + slow]",
            replace: "square[slow * 17u + fast]",
        },
        Mutation {
            kernel: "conv2d_input_grad",
            find: "(start + min(at, row - 4u)) / 4u",
            replace: "(start + min(at + 4u, row - 4u)) / 4u",
        },
        Mutation {
            kernel: "conv2d_input_grad",
            find: "f.s0 + t.middle * p.stride",
            replace: "f.s0 + t.middle",
        },
        Mutation {
            kernel: "conv2d_input_grad",
            find: "f.w0 + m.inner * p.stride)",
            replace: "m.inner * p.stride)",
        },
    ]
}
