//! Cases of `conv2d`.

use super::with_halves;
use crate::check::{Case, Feed, Mutation};
use crate::ops::conv2d::Conv2d;

/// Images, height, width, channels, output channels, kernel, stride, padding.
type Geometry = (usize, usize, usize, usize, usize, usize, usize, usize);

/// Shapes of all three convolution kernels.
pub(super) const SHAPES: &[Geometry] = &[
    // n, h, w, c, k, kernel, stride, padding
    (1, 1, 1, 1, 1, 1, 1, 0),
    (2, 5, 6, 3, 4, 3, 1, 1),
    (1, 7, 7, 2, 3, 3, 2, 1),
    (2, 6, 5, 4, 2, 1, 2, 0),
    (1, 9, 8, 3, 5, 7, 2, 3),
    (3, 4, 4, 5, 7, 1, 1, 0),
    (1, 2, 2, 2, 2, 5, 1, 3),
    (4, 8, 8, 16, 16, 3, 1, 1),
    (4, 8, 8, 16, 32, 3, 2, 1),
    (4, 8, 8, 16, 32, 1, 2, 0),
    (2, 11, 13, 8, 12, 3, 2, 1),
    (2, 16, 16, 3, 16, 3, 1, 1),
    (1, 23, 19, 3, 8, 7, 2, 3),
    (5, 3, 3, 12, 20, 3, 1, 0),
    (2, 4, 4, 64, 64, 3, 1, 1),
    (33, 4, 4, 8, 8, 3, 1, 1),
    (1, 13, 11, 7, 13, 3, 1, 1),
    (2, 7, 5, 17, 11, 3, 2, 1),
    (2, 5, 5, 6, 4, 3, 3, 0),
    (3, 1, 1, 8, 12, 3, 1, 1),
    (2, 6, 6, 4, 6, 2, 2, 0),
    (1, 3, 9, 4, 4, 3, 1, 2),
    (7, 2, 2, 32, 5, 1, 1, 0),
    (2, 8, 8, 32, 64, 1, 2, 0),
    (1, 8, 8, 64, 128, 3, 2, 1),
    (3, 6, 7, 1, 9, 7, 1, 3),
    // Enough pixels for the kernels of CPU drivers, which work on 256 at a time; stride 2 by phases of unequal size.
    (4, 16, 16, 8, 12, 3, 2, 1),
    (7, 17, 15, 16, 8, 3, 2, 1),
    (4, 16, 16, 8, 8, 1, 2, 0),
    (4, 15, 15, 4, 20, 7, 2, 3),
    (3, 9, 11, 12, 4, 3, 1, 1),
    (1, 20, 20, 32, 36, 3, 1, 1),
    (9, 13, 13, 8, 4, 3, 3, 2),
    // Enough tiles for the f32 twin's way with 3x3 filters (reference/winograd.rs), over several tasks and with odd
    // sides.
    (6, 9, 7, 40, 56, 3, 1, 1),
    (2, 33, 30, 32, 64, 3, 1, 0),
    // Enough groups for the kernels of CPU drivers that take 32 filters or channels at a time, and a number of these
    // that is no multiple of 32.
    (72, 2, 2, 8, 124, 3, 1, 1),
    (33, 2, 2, 8, 500, 1, 1, 1),
    (8, 8, 8, 16, 512, 1, 1, 0),
    (9, 8, 8, 248, 4, 3, 2, 1),
];

pub(super) fn cases() -> Vec<Case> {
    let v = SHAPES
        .iter()
        .map(|&(n, h, w, c, k, r, stride, padding)| {
            Case::new(
                Conv2d { stride, padding },
                vec![Feed::uniform([n, h, w, c]), Feed::uniform([k, r, r, c])],
            )
            .note(&format!("stride {stride} padding {padding}"))
            .depth(r * r * c)
            .grads(&[0, 1])
        })
        .collect();
    with_halves(v, &[0, 1])
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "conv2d",
            find: "load_x(u.at.w, u.mask.w, c)",
            replace: "load_x(u.at.z, u.mask.z, c)",
        },
        Mutation {
            kernel: "conv2d",
            find: "vec4<u32>(c, c + 1u, c + 2u, c + 3u) < vec4<u32>(p.c)",
            replace: "vec4<bool>(true)",
        },
        Mutation {
            kernel: "conv2d",
            find: "min(k + which, p.k - 1u)",
            replace: "min(k + which, p.k - 2u)",
        },
        Mutation {
            kernel: "conv2d",
            find: "transpose(fourth_four(w))",
            replace: "transpose(third_four(w))",
        },
        Mutation {
            kernel: "conv2d",
            find: "tap, c, k0 + 16u)",
            replace: "tap, c, k0)",
        },
        Mutation {
            kernel: "conv2d",
            find: "mac(x3, b3)",
            replace: "mac(x3, b2)",
        },
        Mutation {
            kernel: "conv2d",
            find: "i32(p.pad)",
            replace: "0",
        },
        // The tiles of GPUs: the walk over the taps, values behind the last tap, a barrier.
        Mutation {
            kernel: "conv2d",
            find: "advance(walk.tap, TILE_K, p.c, p.s)",
            replace: "advance(walk.tap, 8u, p.c, p.s)",
        },
        Mutation {
            kernel: "conv2d",
            find: "Under(walk.x.at + TILE_K / 4u,",
            replace: "Under(walk.x.at,",
        },
        Mutation {
            kernel: "conv2d",
            find: "(f32(x) + 0.5)",
            replace: "(f32(x) - 0.5)",
        },
        Mutation {
            kernel: "conv2d",
            find: "vec4<bool>(t.outer < p.r)",
            replace: "vec4<bool>(true)",
        },
        Mutation {
            kernel: "conv2d",
            find: "keep_b(lb, *into_b, buffer); }\n        workgroupBarrier();",
            replace: "keep_b(lb, *into_b, buffer); }",
        },
    ]
}
