//! Cases of `barlow_loss_grad`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::barlow_loss::BarlowLoss;
use crate::ops::barlow_loss_grad::BarlowLossGrad;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for adaptive in [false, true] {
        for (c, d) in [(1, 1), (2, 5), (3, 65)] {
            let loss = BarlowLoss { adaptive, lambda: 5e-3, beta: 0.01, eta: 0.05, iota: 1.95 };
            let mut inputs = vec![Feed::uniform([c, d]), Feed::uniform([c, d, d])];
            if adaptive {
                inputs.push(Feed::range([c, d, d], -3.0, 3.0));
            }
            v.push(Case::new(BarlowLossGrad { loss }, inputs).condition(32.0).note(if adaptive { "adaptive" } else { "plain" }));
        }
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation { kernel: "barlow_loss_grad", find: "-2.0 * on / tau", replace: "2.0 * on / tau" },
        Mutation { kernel: "barlow_loss_grad", find: "2.0 * on * v / (tau * tau) + reg", replace: "2.0 * on * v / (tau * tau)" },
    ]
}
