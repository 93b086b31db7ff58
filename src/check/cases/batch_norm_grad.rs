//! Cases of `batch_norm_grad`.

use super::with_halves;
use crate::check::{Case, Feed, Mutation};
use crate::ops::batch_norm_grad::BatchNormGrad;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (n, h, w, c) in [(2, 3, 3, 4), (8, 4, 4, 16), (3, 5, 7, 13), (16, 8, 8, 64), (65, 2, 2, 5)] {
        for (relu, residual) in [(false, false), (true, false), (true, true)] {
            let x = || Feed::uniform([n, h, w, c]);
            let inputs = vec![x(), x(), x(), Feed::range([c], 0.5, 1.5), Feed::uniform([c]), Feed::range([c], 0.2, 2.0)];
            let op = BatchNormGrad { eps: 1e-5, relu, residual };
            // The sums of signed terms are smaller than their terms: sqrt(M) of cancellation at worst.
            v.push(Case::new(op, inputs).note(&format!("relu {relu} residual {residual}")).depth(n * h * w).condition(4.0));
        }
    }
    with_halves(v, &[0, 1, 2])
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation { kernel: "batch_norm_grad", find: "(g - s.w - ", replace: "(g - " },
        Mutation { kernel: "batch_norm_grad", find: "p.first * p.c + t] = s", replace: "p.first * p.c + t] = s.yx" },
    ]
}
