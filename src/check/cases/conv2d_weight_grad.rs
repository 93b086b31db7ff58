//! Cases of `conv2d_weight_grad`.

use super::conv2d::SHAPES;
use super::with_halves;
use crate::check::{Case, Feed, Mutation};
use crate::ops::conv2d_weight_grad::Conv2dWeightGrad;

pub(super) fn cases() -> Vec<Case> {
    // The last two: splits on GPUs of 260 pixels, no multiple of what a tile takes at a time; rows of four pixels each
    // and not.
    let v = SHAPES
        .iter()
        .chain(&[(6, 61, 61, 16, 16, 3, 1, 1), (6, 62, 60, 16, 16, 3, 1, 1)])
        .map(|&(n, h, w, c, k, r, stride, pad)| {
            let (p, q) = (
                (h + 2 * pad - r) / stride + 1,
                (w + 2 * pad - r) / stride + 1,
            );
            let op = Conv2dWeightGrad {
                weight: [k, r, r, c].into(),
                stride,
                padding: pad,
            };
            Case::new(
                op,
                vec![Feed::uniform([n, h, w, c]), Feed::uniform([n, p, q, k])],
            )
            .note(&format!("stride {stride} padding {pad}"))
            .depth(n * p * q)
        })
        .collect();
    with_halves(v, &[0, 1])
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "conv2d_weight_grad",
            find: "x2.right, x3.right)",
            replace: "x2.right, x3.left)",
        },
        Mutation {
            kernel: "conv2d_weight_grad",
            find: "put_all(split, k0 + 16u, at, more)",
            replace: "put_all(split, k0 + 16u, at, sums)",
        },
        Mutation {
            kernel: "conv2d_weight_grad",
            find: "w.m < end && ih",
            replace: "ih",
        },
        Mutation {
            kernel: "conv2d_weight_grad",
            find: "w.n + u32(image_ends)",
            replace: "w.n",
        },
        Mutation {
            kernel: "conv2d_weight_grad",
            find: "min(m + which / 4u, last)",
            replace: "m",
        },
        Mutation {
            kernel: "conv2d_weight_grad",
            find: "acc2 = fma(vec4<f32>(d.z)",
            replace: "acc2 = fma(vec4<f32>(d.y)",
        },
        Mutation {
            kernel: "conv2d_weight_grad",
            find: "n = n + 1u;",
            replace: "n = n;",
        },
        // The tiles of GPUs: the pixels of a block, the walk over the pixels, the order of the splits.
        Mutation {
            kernel: "conv2d_weight_grad",
            find: "let ok = (m < end) & (ih",
            replace: "let ok = (ih",
        },
        Mutation {
            kernel: "conv2d_weight_grad",
            find: "(vec4<u32>(m, m + 1u, m + 2u, m + 3u) < vec4<u32>(end)) & vec4<bool>(ih < p.h)",
            replace: "vec4<bool>(ih < p.h)",
        },
        Mutation {
            kernel: "conv2d_weight_grad",
            find: "advance(walk.at, TILE_K,",
            replace: "advance(walk.at, 12u,",
        },
        Mutation {
            kernel: "conv2d_weight_grad",
            find: "let split = g / tiles;",
            replace: "let split = g / tiles / 2u;",
        },
    ]
}
