//! Cases of `barlow_loss_grad`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::barlow_loss::BarlowLoss;
use crate::ops::barlow_loss_grad::BarlowLossGrad;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (adaptive_on, adaptive_off) in [(false, false), (true, true), (true, false), (false, true)]
    {
        let adaptive = adaptive_on || adaptive_off;
        for (c, d) in [(1, 1), (2, 5), (3, 65)] {
            let loss = BarlowLoss {
                adaptive_on,
                adaptive_off,
                constant: [0.4, 1.5],
                lambda: 5e-3,
                beta: 0.01,
                eta: 0.05,
                iota: 1.95,
            };
            let mut inputs = vec![Feed::uniform([c, d]), Feed::uniform([c, d, d])];
            if adaptive {
                inputs.push(Feed::range([c, d, d], -3.0, 3.0));
            }
            v.push(
                Case::new(BarlowLossGrad { loss }, inputs)
                    .condition(32.0)
                    .note(&format!(
                        "adaptive on the diagonal {adaptive_on}, off it {adaptive_off}"
                    )),
            );
        }
    }
    let loss = BarlowLoss {
        adaptive_on: true,
        adaptive_off: true,
        constant: [0.4, 1.5],
        lambda: 5e-3,
        beta: 0.01,
        eta: 0.05,
        iota: 1.95,
    };
    let inputs = vec![
        Feed::uniform([2, 9]),
        Feed::uniform([2, 9, 9]).with_nan(&[40]),
        Feed::range([2, 9, 9], -3.0, 3.0).with_nan(&[3, 100]),
    ];
    v.push(
        Case::new(BarlowLossGrad { loss }, inputs)
            .condition(32.0)
            .note("not a number"),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "barlow_loss_grad",
            find: "temperature_slope(score[t]), adaptive)",
            replace: "temperature_slope(score[t]), true)",
        },
        Mutation {
            kernel: "barlow_loss_grad",
            find: "-2.0 * on / tau",
            replace: "2.0 * on / tau",
        },
        Mutation {
            kernel: "barlow_loss_grad",
            find: "2.0 * on * v / (tau * tau) + reg",
            replace: "2.0 * on * v / (tau * tau)",
        },
        Mutation {
            kernel: "barlow_loss_grad",
            find: "at_most(r, 80.0)",
            replace: "min(r, 80.0)",
        },
    ]
}
