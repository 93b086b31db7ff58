//! Cases of `barlow_loss`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::barlow_loss::BarlowLoss;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (adaptive_on, adaptive_off) in [(false, false), (true, true), (true, false), (false, true)]
    {
        let adaptive = adaptive_on || adaptive_off;
        for (c, d) in [(1, 1), (2, 5), (3, 65), (1, 130)] {
            let op = BarlowLoss {
                adaptive_on,
                adaptive_off,
                constant: [0.4, 1.5],
                lambda: 5e-3,
                beta: 0.01,
                eta: 0.05,
                iota: 1.95,
            };
            let mut inputs = vec![Feed::uniform([c, d, d])];
            if adaptive {
                inputs.push(Feed::range([c, d, d], -3.0, 3.0));
            }
            let case = Case::new(op, inputs)
                .depth(d)
                .condition(32.0)
                .note(&format!(
                    "adaptive on the diagonal {adaptive_on}, off it {adaptive_off}"
                ));
            let grads: &[usize] = if adaptive { &[0, 1] } else { &[0] };
            v.push(if d < 10 { case.grads(grads) } else { case });
        }
    }
    let op = BarlowLoss {
        adaptive_on: true,
        adaptive_off: true,
        constant: [0.4, 1.5],
        lambda: 5e-3,
        beta: 0.01,
        eta: 0.05,
        iota: 1.95,
    };
    let scores = Feed::range([2, 9, 9], -3.0, 3.0).with_nan(&[3, 100]);
    v.push(
        Case::new(op, vec![Feed::uniform([2, 9, 9]).with_nan(&[40]), scores])
            .depth(9)
            .condition(32.0)
            .note("not a number"),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "barlow_loss",
            find: "p.lambda * v * v / tau - reg",
            replace: "p.lambda * v * v / tau + reg",
        },
        Mutation {
            kernel: "barlow_loss",
            find: "select(p.adaptive_off, p.adaptive_on,",
            replace: "select(p.adaptive_on, p.adaptive_off,",
        },
        Mutation {
            kernel: "barlow_loss",
            find: "on * on + reg",
            replace: "on + reg",
        },
        Mutation {
            kernel: "barlow_loss",
            find: "at_most(r, 80.0)",
            replace: "min(r, 80.0)",
        },
    ]
}
