//! Cases of `amcl_loss`.

use crate::check::{Case, Feed, Mutation};
use crate::graph::StepScalars;
use crate::ops::amcl_form::AmclForm;
use crate::ops::amcl_loss::AmclLoss;
use crate::reference::top_k::Layout;

/// Every switch of the loss.
pub(super) fn forms() -> Vec<(String, AmclLoss)> {
    let base = AmclForm {
        top_k: false,
        warmup: false,
        official_sum: false,
        adaptive_pos: true,
        adaptive_neg: true,
        include_positive: false,
        beta: 0.1,
        eta: 0.05,
        iota: 1.95,
        tau_const: 0.3,
    };
    let loss = |form| AmclLoss {
        form,
        layout: Layout::NtXent,
        d: 16,
    };
    let mut v = Vec::new();
    for (top_k, official_sum) in [(false, false), (true, false), (true, true)] {
        for (adaptive_pos, adaptive_neg) in
            [(true, true), (true, false), (false, true), (false, false)]
        {
            for include_positive in [false, true] {
                let form = AmclForm {
                    top_k,
                    official_sum,
                    adaptive_pos,
                    adaptive_neg,
                    include_positive,
                    ..base
                };
                let name = format!(
                    "topk {top_k} official {official_sum} adaptive {adaptive_pos}/{adaptive_neg} \
                     positive {include_positive}"
                );
                v.push((name, loss(form)));
            }
        }
    }
    v.push((
        "warm-up off".into(),
        loss(AmclForm {
            top_k: true,
            warmup: true,
            ..base
        }),
    ));
    v
}

/// Similarities, scores, and a selection that any row can meet: the five largest of uniform values are unknown here, so
/// the threshold is one that leaves some columns in and some out (the loss does not care where it came from).
pub(super) fn feeds(op: &AmclLoss, c: usize, n: usize) -> Vec<Feed> {
    let mut v = vec![Feed::uniform([c, n, n])];
    if op.form.adaptive() {
        v.push(Feed::range([if c == 3 { 1 } else { c }, n, n], -2.0, 2.0));
    }
    if op.form.top_k {
        // Below -1: every candidate is selected; the tables of top_k and the golden files cover selections.
        v.push(Feed::values(
            [c, n],
            (0..c * n)
                .map(|i| if n > 10 && i % 2 == 0 { 0.25 } else { -1.5 })
                .collect(),
        ));
        v.push(Feed::index([c, n], n as u32));
    }
    v
}

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (note, op) in forms() {
        for (c, n) in [(1, 4), (3, 10), (2, 34), (1, 130)] {
            let inputs = feeds(&op, c, n);
            // Terms s/tau - beta Omega of size up to 10 meet in differences of size 1.
            let case = Case::new(op, inputs)
                .note(&note)
                .depth(n)
                .condition(16.0)
                .loss_outputs(1);
            let grads: &[usize] = if op.form.adaptive() { &[0, 1] } else { &[0] };
            v.push(if n <= 10 { case.grads(grads) } else { case });
        }
    }
    // A temperature schedule: roles that do not adapt have a factor on their temperature.
    for (note, op) in forms()
        .into_iter()
        .filter(|(_, op)| !(op.form.adaptive_pos && op.form.adaptive_neg))
        .step_by(3)
    {
        let step = StepScalars {
            tau_scale: 2.5,
            ..StepScalars::default()
        };
        let grads: &[usize] = if op.form.adaptive() { &[0, 1] } else { &[0] };
        let case = Case::new(op, feeds(&op, 1, 6)).note(&format!("{note}, scaled temperature"));
        v.push(
            case.depth(6)
                .condition(16.0)
                .loss_outputs(1)
                .step(step)
                .grads(grads),
        );
    }
    // Anchors with a queue, whose positive is column 0, and with the keys of the batch, whose positives are the
    // diagonal.
    let queue = [(1, 1, 2), (3, 5, 9), (2, 4, 70)];
    let keys = [(1, 2, 2), (3, 5, 5), (2, 70, 70)];
    for (layout, sizes) in [(Layout::Pairs, queue), (Layout::Diagonal, keys)] {
        for ((note, op), (c, b, n)) in forms()
            .into_iter()
            .flat_map(|form| sizes.map(|size| (form.clone(), size)))
        {
            let op = AmclLoss { layout, ..op };
            let mut inputs = vec![Feed::uniform([c, b, n])];
            if op.form.adaptive() {
                inputs.push(Feed::range([if c == 3 { 1 } else { c }, b, n], -2.0, 2.0));
            }
            if op.form.top_k {
                inputs.extend([
                    Feed::values([c, b], vec![-1.5; c * b]),
                    Feed::index([c, b], n as u32),
                ]);
            }
            let case = Case::new(op, inputs)
                .note(&format!("{layout:?} {note}").to_lowercase())
                .depth(n)
                .condition(16.0)
                .loss_outputs(1);
            let grads: &[usize] = if op.form.adaptive() { &[0, 1] } else { &[0] };
            v.push(if n <= 10 { case.grads(grads) } else { case });
        }
    }
    for (note, op) in forms_with_nan() {
        let mut inputs = feeds(&op, 2, 34);
        inputs[0] = inputs[0].clone().with_nan(&[40, 1500]);
        if op.form.adaptive() {
            inputs[1] = inputs[1].clone().with_nan(&[100, 2000]);
        }
        v.push(
            Case::new(op, inputs)
                .note(&format!("{note}, not a number"))
                .depth(34)
                .condition(16.0),
        );
    }
    v
}

/// Forms that are tried on inputs with NaNs: a log-sum-exp with temperatures, and a selection without.
pub(super) fn forms_with_nan() -> [(String, AmclLoss); 2] {
    let mut all = forms();
    let selected = all.remove(14);
    [all.remove(0), selected]
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "amcl_loss",
            find: "p.beta * omega(t) - s[base + j] / t",
            replace: "p.beta * omega(t) + s[base + j] / t",
        },
        Mutation {
            kernel: "amcl_loss",
            find: "p.tau_const * step.tau_scale",
            replace: "p.tau_const",
        },
        Mutation {
            kernel: "amcl_loss",
            find: "x.y * exp(x.x - m)",
            replace: "x.y",
        },
        Mutation {
            kernel: "amcl_loss",
            find: "at_most(r, 80.0)",
            replace: "min(r, 80.0)",
        },
        Mutation {
            kernel: "amcl_loss",
            find: "is_nan(v) || v > value",
            replace: "v > value",
        },
    ]
}
