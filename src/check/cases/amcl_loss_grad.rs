//! Cases of `amcl_loss_grad`.

use super::amcl_loss::{feeds, forms};
use crate::check::{Case, Feed, Mutation};
use crate::graph::StepScalars;
use crate::ops::amcl_loss_grad::AmclLossGrad;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (note, loss) in forms() {
        for (c, n) in [(1, 4), (3, 10), (2, 34), (1, 66)] {
            let mut inputs = feeds(&loss, c, n);
            inputs.insert(0, Feed::uniform([c, n]));
            // A log-sum-exp (or 1/k) of a plausible size.
            inputs.insert(2, Feed::range([c, n], 3.0, 4.0));
            // exp of logits up to 20 (s/tau, tau >= 0.05): their rounding of 20 eps is a relative error of the weights.
            v.push(
                Case::new(AmclLossGrad { loss }, inputs)
                    .note(&note)
                    .condition(64.0)
                    .depth(c),
            );
        }
    }
    for (note, loss) in forms()
        .into_iter()
        .filter(|(_, op)| !(op.form.adaptive_pos && op.form.adaptive_neg))
        .step_by(3)
    {
        let mut inputs = feeds(&loss, 1, 6);
        inputs.insert(0, Feed::uniform([1, 6]));
        inputs.insert(2, Feed::range([1, 6], 3.0, 4.0));
        let step = StepScalars {
            tau_scale: 2.5,
            ..StepScalars::default()
        };
        v.push(
            Case::new(AmclLossGrad { loss }, inputs)
                .note(&format!("{note}, scaled temperature"))
                .condition(64.0)
                .step(step),
        );
    }
    let (note, mut loss) = forms().remove(8);
    loss.form.warmup = true;
    let mut inputs = feeds(&loss, 2, 6);
    inputs.insert(0, Feed::uniform([2, 6]));
    inputs.insert(2, Feed::range([2, 6], 3.0, 4.0));
    let step = StepScalars {
        flags: StepScalars::WARMUP,
        ..StepScalars::default()
    };
    v.push(
        Case::new(AmclLossGrad { loss }, inputs)
            .note(&format!("{note}, warm-up on"))
            .condition(64.0)
            .step(step),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "amcl_loss_grad",
            find: "dr = dr - g",
            replace: "dr = dr + g",
        },
        Mutation {
            kernel: "amcl_loss_grad",
            find: "p.tau_const * step.tau_scale",
            replace: "p.tau_const",
        },
        Mutation {
            kernel: "amcl_loss_grad",
            find: "d = -g / tp",
            replace: "d = g / tp",
        },
    ]
}
