//! Cases of `rand_augment`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::rand_augment::RandAugment;
use crate::reference::augment::Filter;

/// Every kind of operation with numbers of its own. No factor puts a level where rounding decides it.
pub(super) const KINDS: [[f32; 7]; 15] = [
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [4.0, 32.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [5.0, 90.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [6.0, 99.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [7.0, 1.75, 0.0, 0.0, 0.0, 0.0, 0.0],
    [8.0, 0.1875, 0.0, 0.0, 0.0, 0.0, 0.0],
    [9.0, 1.3125, 0.0, 0.0, 0.0, 0.0, 0.0],
    [10.0, 1.875, 0.0, 0.0, 0.0, 0.0, 0.0],
    [10.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0],
    // A move, a shear, and a turn about a corner with a move.
    [11.0, 1.0, 0.0, 2.25, 0.0, 1.0, -1.5],
    [11.0, 1.0, 0.28125, 0.0, 0.0, 1.0, 0.0],
    [11.0, 0.875, 0.5, -2.0, -0.5, 0.875, 3.0],
];

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (images, size) in [(15, 1), (15, 2), (16, 5), (15, 16), (17, 32)] {
        // Levels of an image stand in a part of the range, so that it can be stretched.
        let values = (0..images * size * size * 3).map(|i| {
            let image = i / (size * size * 3);
            let level = 20 + image * 3 + (i * 37 + i / 7 * 11) % 150;
            level as f32 / 255.0
        });
        for layers in [1, 2, 3] {
            let table = (0..images).flat_map(|i| {
                (0..layers).flat_map(move |layer| KINDS[(i + 4 * layer) % KINDS.len()])
            });
            let op = RandAugment {
                layers,
                filter: Filter::Bilinear,
                mean: [0.485, 0.456, 0.406],
                std: [0.229, 0.224, 0.225],
            };
            let inputs = vec![
                Feed::values([images, size, size, 3], values.clone().collect()),
                Feed::values([images, layers * 7], table.collect()),
            ];
            v.push(
                Case::new(op, inputs)
                    .note(&format!("{layers} operations"))
                    .depth(4),
            );
        }
    }
    v.push(bicubic());
    v
}

/// Moves by quarters of a pixel through the cubic convolution, beyond the border too. All that is computed has at most
/// 21 bits, so that no rounding decides a level.
fn bicubic() -> Case {
    const MOVES: [[f32; 7]; 4] = [
        [11.0, 1.0, 0.0, 2.25, 0.0, 1.0, -1.5],
        [11.0, 0.5, -1.0, 9.25, 1.0, 0.5, -3.5],
        [11.0, 1.0, 0.5, 0.0, 0.0, 1.0, 0.0],
        [9.0, 1.3125, 0.0, 0.0, 0.0, 0.0, 0.0],
    ];
    let (images, size, layers) = (4, 12, 2);
    let op = RandAugment {
        layers,
        filter: Filter::Bicubic,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
    let level = |i| ((i * 97 + i / 5 * 31) % 256) as f32 / 255.0;
    let table = (0..images * layers).flat_map(|i| MOVES[(i + i / 2) % MOVES.len()]);
    let inputs = vec![
        Feed::values(
            [images, size, size, 3],
            (0..images * size * size * 3).map(level).collect(),
        ),
        Feed::values([images, layers * 7], table.collect()),
    ];
    Case::new(op, inputs).note("2 operations, bicubic").depth(4)
}

pub(super) fn mutations() -> Vec<Mutation> {
    [
        ("last > first { v = (clamp", "false { v = (clamp"),
        (
            "v = min(n / step, 255u);",
            "v = min(n / (step + 1u), 255u);",
        ),
        ("vec3<f32>(f32(gray(v)))", "v"),
        ("vec3<f32>(mean), a)", "vec3<f32>(0.0), a)"),
        ("var sum = 4.0 * v;", "var sum = 3.0 * v;"),
        ("return p.fill.xyz;", "return p.mean.xyz;"),
        ("v < vec3<f32>(128.0)", "v < vec3<f32>(64.0)"),
        // The convolution of PIL's `resize`, a = -1/2.
        (
            "b + d * (c - a + d * (2.0 * (a - b) + c - e + d * (b - a + e - c)))",
            "b + 0.5 * d * (c - a + d * (2.0 * a - 5.0 * b + 4.0 * c - e + d * (3.0 * (b - c) + e - a)))",
        ),
    ]
    .map(|(find, replace)| Mutation {
        kernel: "rand_augment",
        find,
        replace,
    })
    .into()
}
