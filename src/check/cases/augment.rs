//! Cases of `augment`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::augment::{Augment, words};
use crate::reference::augment::{Adjust, Filter, order_code};

/// A view of each kind of images of these sides, which follow each other: crops that grow and shrink, every order of
/// adjustments that matters, gray, blur, solarise.
fn table(sides: &[(usize, usize)], rows: usize, blur: bool) -> Vec<f32> {
    use Adjust::{Brightness as B, Contrast as C, Hue as H, None as N, Saturation as S};
    let orders = [
        [B, C, S, H],
        [H, S, C, B],
        [C, N, N, N],
        [N, N, N, N],
        [S, H, B, C],
        [N, H, N, N],
    ];
    (0..rows)
        .flat_map(|r| {
            let (h, w) = sides[r % sides.len()];
            let (ch, cw) = (
                (1 + r * 5 % h).max(h / (1 + r % 3)),
                (1 + r * 7 % w).max(w / (1 + r % 4)),
            );
            let (top, left) = ((h - ch) * (r % 3) / 2, (w - cw) * (r % 2));
            let (radius, sigma) = if blur && r % 2 == 1 {
                (1 + r % 3, 0.3 + 0.5 * r as f32)
            } else {
                (0, 0.0)
            };
            [
                top as f32,
                left as f32,
                ch as f32,
                cw as f32,
                (r % 2) as f32,
                order_code(orders[r % 6]),
                0.7 + 0.1 * (r % 5) as f32,
                1.3 - 0.1 * (r % 4) as f32,
                0.6 + 0.2 * (r % 4) as f32,
                0.09 - 0.03 * (r % 6) as f32,
                f32::from(u8::from(r % 4 == 2)),
                radius as f32,
                sigma,
                if r % 5 == 4 { 0.5 } else { 2.0 },
                w as f32,
                0.0,
            ]
        })
        .collect()
}

/// Views of images of these sides, each of which has room for `room` (height, width); as many images as sides.
fn case(
    sides: &[(usize, usize)],
    views: usize,
    room: (usize, usize),
    size: usize,
    (filter, blur): (Filter, bool),
) -> Case {
    let op = Augment {
        height: room.0,
        width: room.1,
        size,
        filter,
        blur,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
    let rows = sides.len() * views;
    let inputs = vec![
        Feed::index([sides.len(), words(room.0, room.1)], 1 << 24),
        Feed::values([rows, 16], table(sides, rows, blur)),
    ];
    let mut notes = Vec::new();
    if filter == Filter::Bicubic {
        notes.push(filter.name());
    }
    if blur {
        notes.push("blur");
    }
    if sides.iter().any(|s| *s != room) {
        notes.push("sides of their own");
    }
    // Solarising is a jump at the threshold; bytes are multiples of 1/255, and no rounded value of these cases lands
    // on it. The hue of a nearly gray pixel is a quotient of small differences: its error (eps / range) is multiplied
    // by the same range. 9 dividing the image's sums.
    Case::new(op, inputs)
        .note(&notes.join(", "))
        .depth(size * size)
        .condition(8.0)
}

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (images, views, h, w, size) in [
        (1, 1, 1, 1, 1),
        (3, 2, 8, 8, 8),
        (4, 2, 32, 32, 32),
        (2, 3, 13, 29, 17),
        (5, 1, 40, 24, 16),
        (1, 12, 16, 16, 24),
    ] {
        for blur in [false, true] {
            for filter in [Filter::Bilinear, Filter::Bicubic] {
                let sides = vec![(h, w); images];
                v.push(case(&sides, views, (h, w), size, (filter, blur)));
            }
        }
    }
    // A landscape, a portrait and a square in one batch; one of them fills its words.
    let sides = [(16, 28), (28, 16), (16, 16), (11, 40)];
    for filter in [Filter::Bilinear, Filter::Bicubic] {
        v.push(case(&sides, 2, (16, 28), 13, (filter, false)));
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "augment",
            find: "if step == 1u { o = vec3<f32>(mean); }",
            replace: "",
        },
        Mutation {
            kernel: "augment",
            find: "select(column, p.size - 1u - column,",
            replace: "select(column, column,",
        },
        Mutation {
            kernel: "augment",
            find: "min(k, period - k)",
            replace: "min(k, n - 1)",
        },
        Mutation {
            kernel: "augment",
            find: "+ 1.0 + shift)",
            replace: "+ 1.0 - shift)",
        },
        Mutation {
            kernel: "augment",
            find: "let stretch = max(scale, 1.0);",
            replace: "let stretch = 1.0;",
        },
        Mutation {
            kernel: "augment",
            find: "line = clamp(line, vec3<f32>(0.0), vec3<f32>(wx));",
            replace: "",
        },
        Mutation {
            kernel: "augment",
            find: "v = saturate(v);",
            replace: "",
        },
        // PyTorch's cubic convolution of tensors without antialiasing, a = -3/4.
        Mutation {
            kernel: "augment",
            find: "let near = (1.5 * d - 2.5) * d * d + 1.0;",
            replace: "let near = (1.25 * d - 2.25) * d * d + 1.0;",
        },
        // The first image's width for all.
        Mutation {
            kernel: "augment",
            find: "let stored = u32(table[t + 14u]);",
            replace: "let stored = u32(table[14u]);",
        },
        // The last pixel of those that a thread makes is left out.
        Mutation {
            kernel: "augment",
            find: "for (var b = 0u; b < BAND; b = b + 1u) {\n            if begin + b",
            replace: "for (var b = 0u; b < BAND - 1u; b = b + 1u) {\n            if begin + b",
        },
    ]
}
