//! Cases of `masked_mse_grad`.

use super::masked_mse::{SHAPES, inputs};
use crate::check::{Case, Feed, Mutation};
use crate::ops::masked_mse::MaskedMse;
use crate::ops::masked_mse_grad::MaskedMseGrad;

pub(super) fn cases() -> Vec<Case> {
    let all = [false, true]
        .into_iter()
        .flat_map(|i| SHAPES.map(|s| (i, s)));
    all.map(|(invert, shape)| {
        let forward = MaskedMse { invert };
        let inputs = [inputs(shape), vec![Feed::uniform([shape.0])]].concat();
        Case::new(MaskedMseGrad { forward }, inputs).note(&format!("invert {invert}"))
    })
    .collect()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "masked_mse_grad",
        find: "2.0 * w * dy[row]",
        replace: "2.0 * dy[row]",
    }]
}
