//! Cases of `barlow_stream`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::barlow_loss::BarlowLoss;
use crate::ops::barlow_stream::BarlowStream;

/// Every pair of roles.
pub(super) fn forms() -> Vec<(String, BarlowStream)> {
    [(false, false), (true, true), (true, false), (false, true)]
        .map(|(adaptive_on, adaptive_off)| {
            let loss = BarlowLoss {
                adaptive_on,
                adaptive_off,
                constant: [0.4, 1.5],
                lambda: 0.1,
                beta: 0.01,
                eta: 0.05,
                iota: 1.95,
            };
            (
                format!("adaptive on the diagonal {adaptive_on}, off it {adaptive_off}"),
                BarlowStream { loss },
            )
        })
        .into()
}

/// Heads, samples, channels, features; whether heads share the features. Tiles are 64x64 channels, 16 samples or
/// features; the gradient's groups take up to 256 of these.
pub(super) const SHAPES: [([usize; 4], bool); 9] = [
    ([1, 1, 1, 1], false),
    ([2, 8, 5, 8], false),
    ([3, 6, 10, 7], true),
    ([2, 13, 66, 20], false),
    ([1, 70, 130, 70], false),
    ([2, 20, 132, 68], true),
    ([1, 64, 64, 64], false),
    ([1, 300, 40, 12], false),
    ([1, 20, 38, 301], false),
];

/// Columns of deviation 1, and features whose products are of order one: F (s^2/3)^2 = 1 for F numbers uniform in
/// [-s, s), a little more.
pub(super) fn feeds(op: &BarlowStream, [c, n, d, f]: [usize; 4], shared: bool) -> Vec<Feed> {
    let unit = 3f32.sqrt();
    let mut v = vec![Feed::range([c, n, d], -unit, unit); 2];
    if op.loss.adaptive() {
        let s = 1.2 * unit / (f as f32).powf(0.25);
        v.extend(vec![
            Feed::range([if shared { 1 } else { c }, d, f], -s, s);
            2
        ]);
    }
    v
}

/// The longest sum.
pub(super) fn depth([_, n, d, f]: [usize; 4]) -> usize {
    n.max(d).max(f)
}

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (note, op) in forms() {
        for (dims, shared) in SHAPES {
            // A correlation and a score have the rounding of a product, which 1/tau <= 20 and the slope of Omega
            // multiply.
            let case = Case::new(op, feeds(&op, dims, shared))
                .note(&note)
                .depth(depth(dims))
                .condition(32.0);
            let grads: &[usize] = if op.loss.adaptive() {
                &[0, 1, 2, 3]
            } else {
                &[0, 1]
            };
            v.push(if dims[2] <= 10 {
                case.grads(grads)
            } else {
                case
            });
        }
    }
    // More groups than one dispatch takes.
    let (note, op) = forms().remove(1);
    let dims = [256, 8, 130, 8];
    v.push(
        Case::new(op, feeds(&op, dims, false))
            .note(&format!("{note}, in pieces"))
            .depth(depth(dims))
            .condition(32.0),
    );
    let (op, inputs) = with_nan();
    v.push(
        Case::new(op, inputs)
            .note("not a number")
            .depth(70)
            .condition(32.0),
    );
    v
}

/// A form whose temperatures all adapt, on a first view with a NaN among a channel's features.
pub(super) fn with_nan() -> (BarlowStream, Vec<Feed>) {
    let (_, op) = forms().remove(1);
    let mut inputs = feeds(&op, [1, 8, 70, 6], false);
    inputs[2] = inputs[2].clone().with_nan(&[50]);
    (op, inputs)
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "barlow_stream",
            find: "(p.first + g % tiles)",
            replace: "(g % tiles)",
        },
        Mutation {
            kernel: "barlow_stream",
            find: "j0 < p.d; j0 = j0 + 64u",
            replace: "j0 < p.d; j0 = j0 + 128u",
        },
        Mutation {
            kernel: "barlow_stream",
            find: "if j + jj >= p.d { continue; }",
            replace: "if j + jj > p.d { continue; }",
        },
        Mutation {
            kernel: "barlow_stream",
            find: "p.lambda * v * v / tau - reg",
            replace: "p.lambda * v * v / tau + reg",
        },
        Mutation {
            kernel: "barlow_stream",
            find: "select(p.adaptive_off, p.adaptive_on,",
            replace: "select(p.adaptive_on, p.adaptive_off,",
        },
        Mutation {
            kernel: "barlow_stream",
            find: "at_most(r, 80.0)",
            replace: "min(r, 80.0)",
        },
    ]
}
