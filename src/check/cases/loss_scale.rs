//! Cases of `loss_scale`.

use crate::check::{Case, Feed, Mutation};
use crate::graph::StepScalars;
use crate::ops::loss_scale::LossScale;

pub(super) fn cases() -> Vec<Case> {
    let (bad, fine) = (f32::INFINITY, 2.5);
    // Squared norm, loss, scale, good steps, halt; at step 6 the optimiser halts with 7.
    [
        ("a finite step", fine, 1.5, 1024.0, 3.0, 0),
        ("the last of a row", fine, 1.5, 1024.0, 9.0, 0),
        ("the largest scale", fine, 1.5, 16_777_216.0, 9.0, 0),
        ("overflow", bad, 1.5, 1024.0, 4.0, 7),
        ("not a number", f32::NAN, 1.5, 2.0, 4.0, 7),
        ("overflow without a scale", bad, 1.5, 1.0, 4.0, 7),
        ("halted long ago", bad, 1.5, 1024.0, 4.0, 2),
        ("a loss that overflows", bad, bad, 1024.0, 4.0, 7),
    ]
    .into_iter()
    .map(|(note, norm2, loss, scale, good, halt)| {
        let value = |v| Feed::values([1], vec![v]);
        Case::new(LossScale { interval: 10 }, vec![value(norm2), value(loss)])
            .updates(vec![
                value(scale),
                value(good),
                value(5.0),
                Feed::words([1], vec![halt]),
            ])
            .step(StepScalars {
                step: 6,
                ..StepScalars::default()
            })
            .note(note)
    })
    .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "loss_scale",
            find: "scale[0] * 0.5",
            replace: "scale[0]",
        },
        Mutation {
            kernel: "loss_scale",
            find: "halt[0] == step.step",
            replace: "halt[0] != step.step",
        },
        Mutation {
            kernel: "loss_scale",
            find: "&& finite(loss[0])",
            replace: "&& loss[0] != 1234.5",
        },
        Mutation {
            kernel: "loss_scale",
            find: "row >= p.interval",
            replace: "row > p.interval",
        },
    ]
}
