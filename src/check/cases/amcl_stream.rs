//! Cases of `amcl_stream`.

use crate::check::{Case, Feed, Mutation};
use crate::graph::StepScalars;
use crate::ops::amcl_stream::AmclStream;

/// Every switch that the streamed loss has.
pub(super) fn forms() -> Vec<(String, AmclStream)> {
    let mut v = Vec::new();
    for (adaptive_pos, adaptive_neg) in [(true, true), (true, false), (false, true), (false, false)] {
        for include_positive in [true, false] {
            let op = AmclStream { adaptive_pos, adaptive_neg, include_positive, beta: 0.1, eta: 0.05, iota: 1.95, tau_const: 0.3 };
            v.push((format!("adaptive {adaptive_pos}/{adaptive_neg} positive {include_positive}"), op));
        }
    }
    v
}

/// z of rows of about unit length, and features (one head's for all if `shared`) whose products are of order one.
pub(super) fn feeds(op: &AmclStream, [c, a, d]: [usize; 3], shared: bool) -> Vec<Feed> {
    let unit = (3.0 / d as f32).sqrt();
    let mut v = vec![Feed::range([c, a, d], -unit, unit)];
    if op.adaptive() {
        v.push(Feed::range([if shared { 1 } else { c }, a, d], -1.5 * unit, 1.5 * unit));
    }
    v
}

/// Heads, anchors, width; whether heads share the features. Tiles are 64 rows, 64 columns, 16 of the width.
pub(super) const SHAPES: [([usize; 3], bool); 7] = [
    ([1, 4, 1], false),
    ([2, 10, 8], false),
    ([3, 10, 6], true),
    ([2, 66, 13], false),
    ([1, 130, 20], false),
    ([2, 134, 68], true),
    ([1, 64, 64], false),
];

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (note, op) in forms() {
        for (dims, shared) in SHAPES {
            // Terms s/tau - beta Omega of size up to 20 meet in differences of size 1, and s has the rounding of a product of d.
            let case = Case::new(op, feeds(&op, dims, shared)).note(&note).depth(dims[1].max(dims[2])).condition(32.0).loss_outputs(1);
            let grads: &[usize] = if op.adaptive() { &[0, 1] } else { &[0] };
            v.push(if dims[1] <= 10 { case.grads(grads) } else { case });
        }
    }
    // More groups than one dispatch takes.
    let (note, op) = forms().remove(0);
    let dims = [256, 130, 8];
    v.push(Case::new(op, feeds(&op, dims, false)).note(&format!("{note}, in pieces")).depth(130).condition(32.0));
    let (note, op) = forms().remove(2);
    let step = StepScalars { tau_scale: 2.5, ..StepScalars::default() };
    let case = Case::new(op, feeds(&op, [1, 6, 4], false)).note(&format!("{note}, scaled temperature"));
    v.push(case.depth(6).condition(32.0).loss_outputs(1).step(step).grads(&[0, 1]));
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation { kernel: "amcl_stream", find: "sum[ii] * exp(most[ii] - m)", replace: "sum[ii]" },
        Mutation { kernel: "amcl_stream", find: "(p.first + g % tiles)", replace: "(g % tiles)" },
        Mutation { kernel: "amcl_stream", find: "- s / tau + lse", replace: "+ s / tau + lse" },
        Mutation { kernel: "amcl_stream", find: "p.tau_const * step.tau_scale", replace: "p.tau_const / step.tau_scale" },
        Mutation { kernel: "amcl_stream", find: "j0 < p.a; j0 = j0 + 64u", replace: "j0 < p.a; j0 = j0 + 128u" },
    ]
}
