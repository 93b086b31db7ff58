//! Cases of `amcl_stream_grad`.

use super::amcl_stream::{SHAPES, feeds, forms};
use crate::check::{Case, Feed, Mutation};
use crate::graph::StepScalars;
use crate::ops::amcl_stream_grad::AmclStreamGrad;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    let mut push = |note: &str, loss, dims: [usize; 3], shared, step| {
        let mut inputs = feeds(&loss, dims, shared);
        // A log-sum-exp of a plausible size.
        inputs.extend([Feed::uniform([dims[0], dims[1]]), Feed::range([dims[0], dims[1]], 4.0, 5.0)]);
        // exp of logits up to 20 with their rounding, and sums over pairs of products of width d.
        let case = Case::new(AmclStreamGrad { loss }, inputs).note(note).depth(dims[1].max(dims[2])).condition(64.0);
        v.push(case.step(step));
    };
    for (note, loss) in forms() {
        for (dims, shared) in SHAPES {
            push(&note, loss, dims, shared, StepScalars::default());
        }
    }
    // More groups than one dispatch takes.
    let (note, loss) = forms().remove(0);
    push(&format!("{note}, in pieces"), loss, [256, 130, 8], false, StepScalars::default());
    let (note, loss) = forms().remove(2);
    push(&format!("{note}, scaled temperature"), loss, [1, 6, 4], false, StepScalars { tau_scale: 2.5, ..StepScalars::default() });
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation { kernel: "amcl_stream_grad", find: "+ gj * exp(logit - nj)", replace: "+ gj * exp(logit - norm[row + i + ii])" },
        Mutation { kernel: "amcl_stream_grad", find: "dw = -(gi + gj) / tp", replace: "dw = (gi + gj) / tp" },
        Mutation { kernel: "amcl_stream_grad", find: "dfeature[p.off_f + at] + rows_df", replace: "rows_df" },
        Mutation { kernel: "amcl_stream_grad", find: "/ 4u == k0 / TILE_K", replace: "/ 4u == (k0 / TILE_K + 1u) % 4u" },
    ]
}
