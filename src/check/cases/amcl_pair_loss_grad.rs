//! Cases of `amcl_pair_loss_grad`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::amcl_pair_loss::AmclPairLoss;
use crate::ops::amcl_pair_loss_grad::AmclPairLossGrad;

pub(super) fn cases() -> Vec<Case> {
    let loss = AmclPairLoss {
        weight: 0.5,
        beta: 0.1,
        eta: 0.05,
        iota: 1.95,
        d: 16,
    };
    let mut v: Vec<Case> = [1, 7, 64, 1000]
        .map(|n| {
            let inputs = vec![
                Feed::uniform([n]),
                Feed::uniform([n]),
                Feed::range([n], -3.0, 3.0),
            ];
            Case::new(AmclPairLossGrad { loss }, inputs).condition(16.0)
        })
        .into();
    let r = Feed::range([7], -3.0, 3.0).with_nan(&[2, 5]);
    let inputs = vec![Feed::uniform([7]), Feed::uniform([7]), r];
    v.push(
        Case::new(AmclPairLossGrad { loss }, inputs)
            .condition(16.0)
            .note("not a number"),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "amcl_pair_loss_grad",
            find: "-g * p.weight / tau",
            replace: "g * p.weight / tau",
        },
        Mutation {
            kernel: "amcl_pair_loss_grad",
            find: "omega_slope(tau)",
            replace: "omega(tau)",
        },
        Mutation {
            kernel: "amcl_pair_loss_grad",
            find: "at_most(r, 80.0)",
            replace: "min(r, 80.0)",
        },
    ]
}
