//! Cases of `amcl_stream_grad`.

use super::amcl_stream::{
    SHAPES, centred, coarse, feeds, feeds_with_nan, forms, forms_with_nan, shares, steps,
};
use crate::check::{Case, Feed, Mutation};
use crate::graph::StepScalars;
use crate::ops::amcl_stream_grad::AmclStreamGrad;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    let mut push = |note: &str, loss, dims: [usize; 3], shared, step| {
        let mut inputs = feeds(&loss, dims, shared);
        if note.ends_with("ties") {
            inputs[0] = coarse(dims);
        }
        // A log-sum-exp of a plausible size.
        inputs.extend([
            Feed::uniform([dims[0], dims[1]]),
            Feed::range([dims[0], dims[1]], 4.0, 5.0),
        ]);
        // exp of logits up to 20 with their rounding, and sums over pairs of products of width d.
        let case = Case::new(AmclStreamGrad { loss }, inputs)
            .note(note)
            .depth(dims[1].max(dims[2]))
            .condition(64.0);
        v.push(case.step(step));
    };
    for (note, loss) in forms().into_iter().chain(centred()) {
        for (dims, shared) in SHAPES {
            push(&note, loss, dims, shared, StepScalars::default());
        }
    }
    for (note, loss) in forms()
        .into_iter()
        .filter(|(_, op)| op.form.top_k)
        .step_by(3)
    {
        push(
            &format!("{note}, ties"),
            loss,
            [2, 70, 3],
            false,
            StepScalars::default(),
        );
    }
    // More groups than one dispatch takes.
    let (note, loss) = forms().remove(0);
    push(
        &format!("{note}, in pieces"),
        loss,
        [256, 130, 8],
        false,
        StepScalars::default(),
    );
    for (note, loss, dims, shared) in shares() {
        push(&note, loss, dims, shared, StepScalars::default());
    }
    for (note, loss, step) in steps() {
        push(&note, loss, [1, 6, 4], false, step);
    }
    for (note, loss) in forms_with_nan() {
        let mut inputs = feeds_with_nan(&loss);
        inputs.extend([Feed::uniform([1, 70]), Feed::range([1, 70], 4.0, 5.0)]);
        v.push(
            Case::new(AmclStreamGrad { loss }, inputs)
                .note(&format!("{note}, not a number"))
                .depth(70)
                .condition(64.0),
        );
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "amcl_stream_grad",
            find: "weights(pair, tn, nj, soft, by_j)",
            replace: "weights(pair, tn, norm_of(row + i + ii), soft, by_j)",
        },
        Mutation {
            kernel: "amcl_stream_grad",
            find: "is_selected(pair, i + ii, limit_of(row + j + jj)",
            replace: "is_selected(pair, j + jj, limit_of(row + j + jj)",
        },
        Mutation {
            kernel: "amcl_stream_grad",
            find: "v == value && j < index",
            replace: "v == value",
        },
        // Another rank's rows are written; those of the second view in the place of the first's.
        Mutation {
            kernel: "amcl_stream_grad",
            find: "if i + ii >= p.end { break; }",
            replace: "if i + ii >= p.a { break; }",
        },
        Mutation {
            kernel: "amcl_stream_grad",
            find: "(head * p.own + i + ii - p.shift)",
            replace: "(head * p.own + i + ii - p.first)",
        },
        Mutation {
            kernel: "amcl_stream_grad",
            find: "soft, by_j)",
            replace: "soft, by_i)",
        },
        Mutation {
            kernel: "amcl_stream_grad",
            find: "dw = -(gi + gj) / tp",
            replace: "dw = (gi + gj) / tp",
        },
        Mutation {
            kernel: "amcl_stream_grad",
            find: "dfeature[p.off_own_f + at] + rows_df",
            replace: "rows_df",
        },
        Mutation {
            kernel: "amcl_stream_grad",
            find: "v[jj][ii] = gain[0] * v[jj][ii];",
            replace: "",
        },
        Mutation {
            kernel: "amcl_stream_grad",
            find: "x[ii][jj] - mean_of(head));",
            replace: "x[ii][jj]);",
        },
        Mutation {
            kernel: "amcl_stream_grad",
            find: "dmean[0] = -0.5 * gain[0] * all.x",
            replace: "dmean[0] = -0.5 * gain[0] * lane[0].x",
        },
        Mutation {
            kernel: "amcl_stream_grad",
            find: "lane[lid.x] = lane[lid.x] + lane[lid.x + h];",
            replace: "lane[lid.x] = lane[lid.x + h];",
        },
        // Both runs of a share have their sums in one place.
        Mutation {
            kernel: "amcl_stream_grad",
            find: "(i0 - p.shift + 63u) / 64u",
            replace: "(i0 - p.shift) / 64u",
        },
        Mutation {
            kernel: "amcl_stream_grad",
            find: "v.w = index[at]",
            replace: "v.w = index[row]",
        },
        Mutation {
            kernel: "amcl_stream_grad",
            find: "/ 4u == k0 / TILE_K",
            replace: "/ 4u == (k0 / TILE_K + 1u) % 4u",
        },
        Mutation {
            kernel: "amcl_stream_grad",
            find: "at_most(r, 80.0)",
            replace: "min(r, 80.0)",
        },
    ]
}
