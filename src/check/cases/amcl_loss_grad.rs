//! Cases of `amcl_loss_grad`.

use super::amcl_loss::{feeds, forms, forms_with_nan};
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
    for (note, loss) in forms_with_nan() {
        let mut inputs = feeds(&loss, 2, 34);
        inputs[0] = inputs[0].clone().with_nan(&[40, 1500]);
        if loss.form.adaptive() {
            // Also at an anchor with itself, which is no pair and sends nothing to its score.
            inputs[1] = inputs[1].clone().with_nan(&[35, 100, 2000]);
        }
        inputs.insert(0, Feed::uniform([2, 34]));
        inputs.insert(2, Feed::range([2, 34], 3.0, 4.0));
        v.push(
            Case::new(AmclLossGrad { loss }, inputs)
                .note(&format!("{note}, not a number"))
                .condition(64.0),
        );
    }
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
        Mutation {
            kernel: "amcl_loss_grad",
            find: "at_most(r, 80.0)",
            replace: "min(r, 80.0)",
        },
        Mutation {
            kernel: "amcl_loss_grad",
            find: "is_nan(v) || v > value",
            replace: "v > value",
        },
    ]
}
