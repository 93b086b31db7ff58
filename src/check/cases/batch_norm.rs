//! Cases of `batch_norm`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::batch_norm::{BatchNorm, BatchNormInference};

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (n, h, w, c) in [(2, 1, 1, 1), (2, 3, 3, 4), (8, 4, 4, 16), (3, 5, 7, 13), (16, 8, 8, 64), (65, 2, 2, 5)] {
        for (relu, residual) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut inputs = vec![Feed::uniform([n, h, w, c]), Feed::range([c], 0.5, 1.5), Feed::uniform([c])];
            if residual {
                inputs.push(Feed::uniform([n, h, w, c]));
            }
            let op = BatchNorm { eps: 1e-5, relu, residual };
            let grads: &[usize] = if residual { &[0, 1, 2, 3] } else { &[0, 1, 2] };
            // Two values a channel: a difference of nearly equal numbers is divided by their deviation; and a ReLU's kink may lie within the step.
            let tiny = n * h * w < 4;
            let c = Case::new(op, inputs).loss_outputs(1).depth(n * h * w).condition(if tiny { 64.0 } else { 4.0 });
            v.push(if tiny || relu { c } else { c.grads(grads) });
        }
    }
    for relu in [false, true] {
        let inputs = vec![Feed::uniform([4, 3, 3, 6]), Feed::range([6], 0.5, 1.5), Feed::uniform([6])];
        v.push(Case::new(BatchNorm { eps: 1e-5, relu, residual: false }, inputs).note("gradient").loss_outputs(1).depth(36).condition(4.0).grads(&[0, 1, 2]));
    }
    // Halves: what is stored is rounded, statistics are not.
    for (c, residual) in [(16, true), (13, true), (8, false)] {
        let mut inputs = vec![Feed::uniform([9, 5, 4, c]), Feed::range([c], 0.5, 1.5), Feed::uniform([c])];
        if residual {
            inputs.push(Feed::uniform([9, 5, 4, c]));
        }
        let of_x: &[usize] = if residual { &[0, 3] } else { &[0] };
        v.push(Case::new(BatchNorm { eps: 1e-5, relu: residual, residual }, inputs).depth(180).condition(4.0).in_f16(of_x));
    }
    // A mean far from zero: E[x^2] - E[x]^2 would lose all digits (100^2 eps = 1e-3 of a variance of 0.08); the subtraction costs 100/0.3.
    let inputs = vec![Feed::range([8, 8, 8, 7], 100.0, 101.0), Feed::range([7], 0.5, 1.5), Feed::uniform([7])];
    v.push(Case::new(BatchNorm { eps: 1e-5, relu: false, residual: false }, inputs).note("mean 100").depth(64).condition(64.0));
    for (c, relu, residual) in [(5, false, false), (8, true, false), (12, true, true)] {
        let mut inputs = vec![Feed::uniform([3, 4, 5, c]), Feed::range([c], 0.5, 1.5), Feed::uniform([c]), Feed::uniform([c]), Feed::range([c], 0.5, 2.0)];
        if residual {
            inputs.push(Feed::uniform([3, 4, 5, c]));
        }
        v.push(Case::new(BatchNormInference { eps: 1e-5, relu, residual }, inputs).condition(4.0));
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation { kernel: "batch_norm", find: "d * d * (acc.z * q.z / n)", replace: "0.0 * d" },
        Mutation { kernel: "batch_norm", find: "+ beta[c]", replace: "- beta[c]" },
    ]
}
