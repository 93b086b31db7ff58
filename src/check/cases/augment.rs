//! Cases of `augment`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::augment::{Augment, words};
use crate::reference::augment::{Adjust, order_code};

/// A view of each kind: crops that grow and shrink, every order of adjustments that matters, gray, blur, solarise.
fn table(h: usize, w: usize, rows: usize, blur: bool) -> Vec<f32> {
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
                0.0,
                0.0,
            ]
        })
        .collect()
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
            let op = Augment {
                height: h,
                width: w,
                size,
                blur,
                mean: [0.485, 0.456, 0.406],
                std: [0.229, 0.224, 0.225],
            };
            let rows = images * views;
            let inputs = vec![
                Feed::index([images, words(h, w)], 1 << 24),
                Feed::values([rows, 16], table(h, w, rows, blur)),
            ];
            // Solarising is a jump at the threshold; bytes are multiples of 1/255, and no rounded value of these cases
            // lands on it. The hue of a nearly gray pixel is a quotient of small differences: its error (eps / range)
            // is multiplied by the same range. 9 dividing the image's sums.
            v.push(
                Case::new(op, inputs)
                    .note(if blur { "blur" } else { "" })
                    .depth(size * size)
                    .condition(8.0),
            );
        }
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
            find: "j = p.size - 1u - j;",
            replace: "",
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
            find: "let support = max(scale, 1.0);",
            replace: "let support = 1.0;",
        },
    ]
}
