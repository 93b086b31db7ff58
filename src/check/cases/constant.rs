//! Cases of `constant`.

use crate::check::{Case, Mutation};
use crate::graph::StepScalars;
use crate::ops::constant::Constant;

pub(super) fn cases() -> Vec<Case> {
    let step = StepScalars { loss_scale: 8.0, ..StepScalars::default() };
    [1, 5, 64, 4097]
        .into_iter()
        .flat_map(|n| [false, true].map(|s| Case::new(Constant { shape: [n].into(), value: 2.5, loss_scale: s }, vec![]).note(&format!("[{n}] scaled {s}")).step(step)))
        .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation { kernel: "constant", find: "step.loss_scale", replace: "1.0 + 0.0 * step.loss_scale" },
    ]
}
