//! Cases of `amcl_stream`.

use crate::check::{Case, Feed, Mutation};
use crate::graph::StepScalars;
use crate::ops::amcl_form::AmclForm;
use crate::ops::amcl_stream::{AmclStream, Share};

/// Every switch that the streamed loss has; the softmax forms first.
pub(super) fn forms() -> Vec<(String, AmclStream)> {
    let mut v = Vec::new();
    for (top_k, official_sum) in [(false, false), (true, false), (true, true)] {
        for (adaptive_pos, adaptive_neg) in
            [(true, true), (true, false), (false, true), (false, false)]
        {
            for include_positive in [true, false] {
                let form = AmclForm {
                    top_k,
                    warmup: false,
                    official_sum,
                    adaptive_pos,
                    adaptive_neg,
                    include_positive,
                    beta: 0.1,
                    eta: 0.05,
                    iota: 1.95,
                    tau_const: 0.3,
                };
                let name = if top_k {
                    format!("top-k official {official_sum} ")
                } else {
                    String::new()
                };
                v.push((
                    format!(
                        "{name}adaptive {adaptive_pos}/{adaptive_neg} positive {include_positive}"
                    ),
                    AmclStream {
                        form,
                        centre: None,
                        share: Share::WHOLE,
                    },
                ));
            }
        }
    }
    v
}

/// Forms of all kinds with centred scores: both roles, one, and a selection.
pub(super) fn centred() -> Vec<(String, AmclStream)> {
    let of = |i: usize| {
        let (note, op) = forms().remove(i);
        let centre = Some(2.5);
        (format!("{note}, centred"), AmclStream { centre, ..op })
    };
    [0, 3, 4, 8, 17].map(of).into()
}

/// z of rows of about unit length, and features (one head's for all if `shared`) whose products are of order one.
pub(super) fn feeds(op: &AmclStream, [c, a, d]: [usize; 3], shared: bool) -> Vec<Feed> {
    let unit = (3.0 / d as f32).sqrt();
    let mut v = vec![Feed::range([c, a, d], -unit, unit)];
    if op.form.adaptive() {
        v.push(Feed::range(
            [if shared { 1 } else { c }, a, d],
            -1.5 * unit,
            1.5 * unit,
        ));
    }
    if op.centre.is_some() {
        v.push(Feed::range([1], 0.5, 1.5));
        v.push(Feed::range([if shared { 1 } else { c }], -0.5, 0.5));
    }
    if op.form.top_k {
        // Any threshold will do, of this op or another: below all products, or among them, and any column. (Products of
        // rows of width 1 reach 3; small ones have their gradient differenced, which a threshold among them would
        // disturb.)
        let value = |i: usize| {
            if a > 10 && !i.is_multiple_of(3) {
                0.25
            } else {
                -4.0
            }
        };
        v.push(Feed::values([c, a], (0..c * a).map(value).collect()));
        v.push(Feed::index([c, a], a as u32));
    }
    v
}

/// Multiples of 1/4: their products are exact, and many of them equal to each other and to a threshold of 1/4.
pub(super) fn coarse([c, a, d]: [usize; 3]) -> Feed {
    Feed::values(
        [c, a, d],
        (0..c * a * d)
            .map(|i| ((i * i + i / 3) % 7) as f32 / 4.0 - 0.75)
            .collect(),
    )
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
    for (note, op) in forms().into_iter().chain(centred()) {
        for (dims, shared) in SHAPES {
            // Terms s/tau - beta Omega of size up to 20 meet in differences of size 1, and s has the rounding of a
            // product of d.
            let case = Case::new(op, feeds(&op, dims, shared))
                .note(&note)
                .depth(dims[1].max(dims[2]))
                .condition(32.0)
                .loss_outputs(1);
            let grads: &[usize] = match (op.form.adaptive(), op.centre) {
                (false, _) => &[0],
                (true, None) => &[0, 1],
                (true, Some(_)) => &[0, 1, 2, 3],
            };
            v.push(if dims[1] <= 10 {
                case.grads(grads)
            } else {
                case
            });
        }
    }
    for (note, op) in forms()
        .into_iter()
        .filter(|(_, op)| op.form.top_k)
        .step_by(3)
    {
        let mut inputs = feeds(&op, [2, 70, 3], false);
        inputs[0] = coarse([2, 70, 3]);
        v.push(
            Case::new(op, inputs)
                .note(&format!("{note}, ties"))
                .depth(70)
                .condition(32.0),
        );
    }
    // More groups than one dispatch takes.
    let (note, op) = forms().remove(0);
    let dims = [256, 130, 8];
    v.push(
        Case::new(op, feeds(&op, dims, false))
            .note(&format!("{note}, in pieces"))
            .depth(130)
            .condition(32.0),
    );
    for (note, op, step) in steps() {
        let case = Case::new(op, feeds(&op, [1, 6, 4], false)).note(&note);
        v.push(
            case.depth(6)
                .condition(32.0)
                .loss_outputs(1)
                .step(step)
                .grads(&[0, 1]),
        );
    }
    for (note, op, dims, shared) in shares() {
        let case = Case::new(op, feeds(&op, dims, shared)).note(&note);
        v.push(case.depth(dims[1].max(dims[2])).condition(32.0));
    }
    for (note, op) in forms_with_nan() {
        let case = Case::new(op, feeds_with_nan(&op)).note(&format!("{note}, not a number"));
        v.push(case.depth(70).condition(32.0));
    }
    v
}

/// Forms that are tried on inputs with NaNs: temperatures of the positives alone, so that only two anchors get them,
/// and a selection at constant temperatures.
pub(super) fn forms_with_nan() -> [(String, AmclStream); 2] {
    let mut all = forms();
    let selected = all.remove(14);
    [all.remove(2), selected]
}

/// NaNs among the features of such a form, else in the rows.
pub(super) fn feeds_with_nan(op: &AmclStream) -> Vec<Feed> {
    let mut v = feeds(op, [1, 70, 6], false);
    let of = usize::from(op.form.adaptive());
    v[of] = v[of].clone().with_nan(&[50]);
    v
}

/// Shares of a rank: whose rows begin and end within a tile, lie in several dispatches, and have features of one head.
pub(super) fn shares() -> Vec<(String, AmclStream, [usize; 3], bool)> {
    let all: Vec<_> = forms().into_iter().chain(centred()).collect();
    let mut v = Vec::new();
    for (form, rank, ranks, dims, shared) in [
        (0, 1, 3, [2, 18, 8], false),
        (0, 2, 3, [2, 222, 68], true),
        (6, 0, 2, [1, 140, 5], false),
        (8, 3, 4, [2, 264, 13], false),
        (16, 1, 2, [3, 68, 6], true),
        (0, 1, 2, [256, 260, 8], false),
        // Centred.
        (24, 1, 3, [2, 18, 8], false),
        (24, 2, 3, [2, 222, 68], true),
        (25, 0, 2, [1, 140, 5], false),
        (27, 3, 4, [2, 264, 13], false),
    ] {
        let (note, op) = all[form].clone();
        let share = Share { rank, ranks };
        let op = AmclStream { share, ..op };
        v.push((format!("{note}, rank {rank} of {ranks}"), op, dims, shared));
    }
    v
}

/// What a step changes: the temperature of a role that does not adapt, and the form while it is warm-up.
pub(super) fn steps() -> Vec<(String, AmclStream, StepScalars)> {
    let scaled = StepScalars {
        tau_scale: 2.5,
        ..StepScalars::default()
    };
    let warm = StepScalars {
        flags: StepScalars::WARMUP,
        ..StepScalars::default()
    };
    let [(plain, op), (selected, top_k)] = [2, 10].map(|i| forms().remove(i));
    let form = AmclForm {
        warmup: true,
        ..top_k.form
    };
    let warmup = AmclStream { form, ..top_k };
    vec![
        (format!("{plain}, scaled temperature"), op, scaled),
        (format!("{selected}, scaled temperature"), top_k, scaled),
        (format!("{selected}, warm-up on"), warmup, warm),
        (
            format!("{selected}, warm-up off"),
            warmup,
            StepScalars::default(),
        ),
        (format!("{selected}, no warm-up"), top_k, warm),
    ]
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "amcl_stream",
            find: "sum[ii] * exp(most[ii] - m)",
            replace: "sum[ii]",
        },
        Mutation {
            kernel: "amcl_stream",
            find: "p.first + (g % tiles)",
            replace: "(g % tiles)",
        },
        // Another rank's rows are written; the second view's stand where the first's do.
        Mutation {
            kernel: "amcl_stream",
            find: "row < p.end",
            replace: "row < p.a",
        },
        Mutation {
            kernel: "amcl_stream",
            find: "+ row - p.shift",
            replace: "+ row - min(p.shift, 1u)",
        },
        Mutation {
            kernel: "amcl_stream",
            find: "(x - mean_of(head)) + p.centre",
            replace: "(x + mean_of(head)) + p.centre",
        },
        Mutation {
            kernel: "amcl_stream",
            find: "p.head0 + head, p.score_heads",
            replace: "p.head0, p.score_heads",
        },
        Mutation {
            kernel: "amcl_stream",
            find: "- s / tau + candidates",
            replace: "+ s / tau + candidates",
        },
        Mutation {
            kernel: "amcl_stream",
            find: "p.tau_const * step.tau_scale",
            replace: "p.tau_const / step.tau_scale",
        },
        Mutation {
            kernel: "amcl_stream",
            find: "reg[ii] + selected_omega(tau)",
            replace: "reg[ii] + omega(tau)",
        },
        Mutation {
            kernel: "amcl_stream",
            find: "(p.warmup & step.flags & STEP_WARMUP) == 1u",
            replace: "(step.flags & STEP_WARMUP) == 1u",
        },
        Mutation {
            kernel: "amcl_stream",
            find: "v == value && j < index",
            replace: "v == value",
        },
        Mutation {
            kernel: "amcl_stream",
            find: "j0 < p.a; j0 = j0 + 64u",
            replace: "j0 < p.a; j0 = j0 + 128u",
        },
        Mutation {
            kernel: "amcl_stream",
            find: "at_most(r, 80.0)",
            replace: "min(r, 80.0)",
        },
        Mutation {
            kernel: "amcl_stream",
            find: "is_nan(v) || v > value",
            replace: "v > value",
        },
    ]
}
