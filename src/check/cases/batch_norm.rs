//! Cases of `batch_norm`.

use crate::check::{Case, Feed, Fill, Mutation};
use crate::ops::batch_norm::{BatchNorm, BatchNormInference, BatchNormStatistics};

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (n, h, w, c) in [
        (2, 1, 1, 1),
        (2, 3, 3, 4),
        (8, 4, 4, 16),
        (3, 5, 7, 13),
        (16, 8, 8, 64),
        (65, 2, 2, 5),
    ] {
        for (relu, residual) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut inputs = vec![
                Feed::uniform([n, h, w, c]),
                Feed::range([c], 0.5, 1.5),
                Feed::uniform([c]),
            ];
            if residual {
                inputs.push(Feed::uniform([n, h, w, c]));
            }
            let op = BatchNorm {
                eps: 1e-5,
                relu,
                residual,
            };
            let grads: &[usize] = if residual { &[0, 1, 2, 3] } else { &[0, 1, 2] };
            // Two values a channel: a difference of nearly equal numbers is divided by their deviation; and a ReLU's
            // kink may lie within the step.
            let tiny = n * h * w < 4;
            let c = Case::new(op, inputs)
                .loss_outputs(1)
                .depth(n * h * w)
                .condition(if tiny { 64.0 } else { 4.0 });
            v.push(if tiny || relu { c } else { c.grads(grads) });
        }
    }
    // With a ReLU too: none of these values lies within the step of its kink.
    for (relu, residual) in [(false, false), (true, false), (true, true)] {
        let mut inputs = vec![
            Feed::uniform([4, 3, 3, 6]),
            Feed::range([6], 0.5, 1.5),
            Feed::uniform([6]),
        ];
        if residual {
            inputs.push(Feed::uniform([4, 3, 3, 6]));
        }
        let op = BatchNorm {
            eps: 1e-5,
            relu,
            residual,
        };
        let grads: Vec<usize> = (0..inputs.len()).collect();
        v.push(
            Case::new(op, inputs)
                .note("gradient")
                .loss_outputs(1)
                .depth(36)
                .condition(4.0)
                .grads(&grads),
        );
    }
    // Halves: what is stored is rounded, statistics are not.
    for (c, relu, residual) in [
        (16, true, true),
        (13, true, true),
        (8, false, false),
        (256, true, false),
    ] {
        let mut inputs = vec![
            Feed::uniform([9, 5, 4, c]),
            Feed::range([c], 0.5, 1.5),
            Feed::uniform([c]),
        ];
        if residual {
            inputs.push(Feed::uniform([9, 5, 4, c]));
        }
        let of_x: &[usize] = if residual { &[0, 3] } else { &[0] };
        v.push(
            Case::new(
                BatchNorm {
                    eps: 1e-5,
                    relu,
                    residual,
                },
                inputs,
            )
            .depth(180)
            .condition(4.0)
            .in_f16(of_x),
        );
    }
    // Many runs of rows and an incomplete one, in several pieces where bindings are small; one channel; several blocks
    // of columns, of fours and single; eight elements a thread. The f32 twin adds 256 rows in order, then those sums.
    let many = [
        (250, 5, 5, 64),
        (185, 1, 41, 1),
        (15, 4, 4, 260),
        (9, 1, 7, 259),
        (5, 1, 3, 1028),
        (8, 1, 1, 2048),
        (1650, 8, 8, 5),
    ];
    for (i, (n, h, w, c)) in many.into_iter().enumerate() {
        let x = || Feed::uniform([n, h, w, c]);
        let (relu, residual) = (i % 2 == 0, i % 3 == 0);
        let mut inputs = vec![x(), Feed::range([c], 0.5, 1.5), Feed::uniform([c])];
        if residual {
            inputs.push(x());
        }
        let case = Case::new(
            BatchNorm {
                eps: 1e-5,
                relu,
                residual,
            },
            inputs,
        )
        .note("many")
        .depth(256 + n * h * w / 256)
        .condition(4.0);
        if i % 3 == 0 {
            v.push(case.clone().in_f16(&[0, 3]));
        }
        v.push(case);
    }
    // An outlier in the first row of two runs, from which 8 rows of a thread are shifted: the sum of squares is 8 times
    // as large as M2 and loses as much.
    let Feed { ty, .. } = Feed::uniform([96, 1, 1, 256]);
    let mut x = Feed::uniform([96, 1, 1, 256]).make(1).to_f64();
    for row in [0, 32] {
        x[row * 256..(row + 1) * 256].fill(1000.0);
    }
    let x = Feed {
        ty,
        fill: Fill::Values(x.into_iter().map(|v| v as f32).collect()),
    };
    let inputs = vec![x, Feed::range([256], 0.5, 1.5), Feed::uniform([256])];
    v.push(
        Case::new(
            BatchNorm {
                eps: 1e-5,
                relu: false,
                residual: false,
            },
            inputs,
        )
        .note("outliers")
        .depth(96)
        .condition(8.0),
    );
    // The mean is rounded to 100 eps / 2 wherever runs are merged: that over the deviation (0.29) is what y loses.
    let inputs = vec![
        Feed::range([8, 32, 32, 7], 100.0, 101.0),
        Feed::range([7], 0.5, 1.5),
        Feed::uniform([7]),
    ];
    v.push(
        Case::new(
            BatchNorm {
                eps: 1e-5,
                relu: false,
                residual: false,
            },
            inputs,
        )
        .note("mean 100, many")
        .depth(256 + 32)
        .condition(172.0),
    );
    // A mean far from zero: E[x^2] - E[x]^2 would lose all digits (100^2 eps = 1e-3 of a variance of 0.08); the
    // subtraction costs 100/0.3.
    let inputs = vec![
        Feed::range([8, 8, 8, 7], 100.0, 101.0),
        Feed::range([7], 0.5, 1.5),
        Feed::uniform([7]),
    ];
    v.push(
        Case::new(
            BatchNorm {
                eps: 1e-5,
                relu: false,
                residual: false,
            },
            inputs,
        )
        .note("mean 100")
        .depth(64)
        .condition(64.0),
    );
    // A NaN makes its channel NaN, in the residual its element alone; behind the ReLU too.
    for c in [5, 8] {
        for residual in [false, true] {
            let mut inputs = vec![
                Feed::uniform([3, 4, 5, c]).with_nan(&[c + 1]),
                Feed::range([c], 0.5, 1.5),
                Feed::uniform([c]).with_nan(&[3]),
            ];
            if residual {
                inputs.push(Feed::uniform([3, 4, 5, c]).with_nan(&[2 * c + 2, 7 * c + 4]));
            }
            let relu = true;
            let inference = [Feed::uniform([c]), Feed::range([c], 0.5, 2.0)];
            let evaluated = [&inputs[..3], &inference, &inputs[3..]].concat();
            let cases = [
                Case::new(
                    BatchNorm {
                        eps: 1e-5,
                        relu,
                        residual,
                    },
                    inputs,
                ),
                Case::new(
                    BatchNormInference {
                        eps: 1e-5,
                        relu,
                        residual,
                    },
                    evaluated,
                ),
            ];
            v.extend(cases.map(|case| case.note("not a number").depth(60).condition(4.0)));
        }
    }
    for (c, relu, residual) in [
        (5, false, false),
        (8, true, false),
        (12, true, true),
        (576, true, false),
    ] {
        let mut inputs = vec![
            Feed::uniform([3, 4, 5, c]),
            Feed::range([c], 0.5, 1.5),
            Feed::uniform([c]),
            Feed::uniform([c]),
            Feed::range([c], 0.5, 2.0),
        ];
        if residual {
            inputs.push(Feed::uniform([3, 4, 5, c]));
        }
        let case = Case::new(
            BatchNormInference {
                eps: 1e-5,
                relu,
                residual,
            },
            inputs,
        )
        .condition(4.0);
        // As the backward pass makes results anew: of halves.
        if relu && !residual {
            v.push(case.clone().in_f16(&[0]));
        }
        v.push(case);
    }
    // Statistics alone, of ranks' rows: several runs in several pieces, several blocks of columns, one channel.
    for (n, h, w, c) in [
        (2, 3, 3, 4),
        (250, 5, 5, 64),
        (185, 1, 41, 1),
        (9, 1, 7, 259),
    ] {
        let case = Case::new(BatchNormStatistics, vec![Feed::uniform([n, h, w, c])])
            .depth(256 + n * h * w / 256)
            .condition(4.0);
        v.push(case.clone().in_f16(&[0]));
        v.push(case);
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    let m = |find, replace| Mutation {
        kernel: "batch_norm",
        find,
        replace,
    };
    vec![
        m("d * d * (a.n * share)", "0.0 * d"),
        m(
            "affine(v, f.mean, f.scale, f.shift)",
            "affine(v, f.mean, f.scale, -f.shift)",
        ),
        // The deviations that shifted sums lose, a row too few, a lane that is not merged, a run that is not.
        m("s2 - s1 * (s1 / n)", "s2"),
        m("for (; k < w.count; k", "for (; k + 1u < w.count; k"),
        m("var n = deep; n > 1u;", "var n = deep; n > 2u;"),
        m("min(p.runs, 256u), own", "min(p.runs, 2u), own"),
        m(
            "i = i + FLIGHT * p.span;",
            "i = i + (FLIGHT - 1u) * p.span;",
        ),
        m("r = relu(r);", "r = max(r, E(0.0));"),
    ]
}
