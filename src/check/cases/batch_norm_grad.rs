//! Cases of `batch_norm_grad`.

use super::with_halves;
use crate::check::{Case, Feed, Mutation};
use crate::ops::batch_norm_grad::{BatchNormGrad, BatchNormGradApply, BatchNormGradSums};

/// dy, x, gamma, mean, variance, and behind a ReLU y, where a residual went into it, or beta.
fn inputs(shape: [usize; 4], relu: bool, residual: bool) -> Vec<Feed> {
    let (x, c) = (|| Feed::uniform(shape), shape[3]);
    let vectors = [
        Feed::range([c], 0.5, 1.5),
        Feed::uniform([c]),
        Feed::range([c], 0.2, 2.0),
    ];
    let mut v = vec![x(), x()];
    v.extend(vectors);
    v.extend(relu.then(|| if residual { x() } else { Feed::uniform([c]) }));
    v
}

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (n, h, w, c) in [
        (2, 3, 3, 4),
        (8, 4, 4, 16),
        (3, 5, 7, 13),
        (16, 8, 8, 64),
        (65, 2, 2, 5),
    ] {
        for (relu, residual) in [(false, false), (true, false), (true, true)] {
            let inputs = inputs([n, h, w, c], relu, residual);
            let op = BatchNormGrad {
                eps: 1e-5,
                relu,
                residual,
            };
            // The sums of signed terms are smaller than their terms: sqrt(M) of cancellation at worst.
            v.push(
                Case::new(op, inputs)
                    .note(&format!("relu {relu} residual {residual}"))
                    .depth(n * h * w)
                    .condition(4.0),
            );
        }
    }
    // As for the forward pass: many runs, one channel, several blocks of columns, eight elements a thread. In the f32
    // twin 256 rows are added in order, then those sums.
    let many = [
        (250, 5, 5, 64),
        (185, 1, 41, 1),
        (15, 4, 4, 260),
        (9, 1, 7, 259),
        (5, 1, 3, 1028),
        (1650, 8, 8, 5),
        (40, 4, 4, 20),
    ];
    for (i, (n, h, w, c)) in many.into_iter().enumerate() {
        let (relu, residual) = (i % 2 == 0, i % 3 != 1);
        let inputs = inputs([n, h, w, c], relu, residual);
        let op = BatchNormGrad {
            eps: 1e-5,
            relu,
            residual,
        };
        // Sums of M signed terms are sqrt(M) of them: what is lost is relative to these.
        v.push(
            Case::new(op, inputs)
                .note(&format!("many relu {relu} residual {residual}"))
                .depth(256 + n * h * w / 256)
                .condition(4.0),
        );
    }
    // Where what the ReLU made is a NaN, of the residual or of beta, the gradient goes through.
    for (c, residual) in [(5, false), (8, false), (5, true), (8, true)] {
        let mut inputs = inputs([3, 4, 5, c], true, residual);
        inputs[5] = inputs[5].clone().with_nan(&[1, 3]);
        let op = BatchNormGrad {
            eps: 1e-5,
            relu: true,
            residual,
        };
        v.push(
            Case::new(op, inputs)
                .note(&format!("not a number, residual {residual}"))
                .depth(60)
                .condition(4.0),
        );
    }
    v.extend(halves());
    let (behind, plain): (Vec<Case>, Vec<Case>) = v
        .into_iter()
        .partition(|c| c.inputs.get(5).is_some_and(|y| y.ty.shape.rank() > 1));
    with_halves(behind, &[0, 1, 5])
        .into_iter()
        .chain(with_halves(plain, &[0, 1]))
        .collect()
}

/// The two ops of which it is made where ranks share statistics: one channel, several blocks of columns, several
/// pieces; and in the second op sums of other rows than these.
fn halves() -> Vec<Case> {
    let mut v = Vec::new();
    let shapes = [
        [2, 3, 3, 4],
        [250, 5, 5, 64],
        [185, 1, 41, 1],
        [9, 1, 7, 259],
    ];
    for (i, shape) in shapes.into_iter().enumerate() {
        let [n, h, w, c] = shape;
        let rows = n * h * w;
        for (relu, residual) in [(false, false), (true, false), (true, true)] {
            // Among so many values some lie at the kink, where the mask is made of x.
            if relu && !residual && rows * c > 100_000 {
                continue;
            }
            let op = BatchNormGrad {
                eps: 1e-5,
                relu,
                residual,
            };
            let note = format!("relu {relu} residual {residual}");
            v.push(
                Case::new(BatchNormGradSums(op), inputs(shape, relu, residual))
                    .note(&note)
                    .depth(256 + rows / 256)
                    .condition(4.0),
            );
            if residual {
                continue;
            }
            // Sums of as many rows as four ranks have, of terms of about 1.
            let sum = |low: f32| Feed::range([c], low * rows as f32, 2.0 * rows as f32);
            let mut all = inputs(shape, relu, false);
            let beta = all.split_off(5);
            all.extend([sum(-2.0), sum(-1.0)]);
            all.extend(beta);
            let op = BatchNormGradApply {
                eps: 1e-5,
                relu,
                count: (2 + i) * rows,
            };
            v.push(Case::new(op, all).note(&note).condition(4.0));
        }
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    let m = |find, replace| Mutation {
        kernel: "batch_norm_grad",
        find,
        replace,
    };
    vec![
        m("(E(g) - f.shift - ", "(E(g) - "),
        // Sums that are given: the two exchanged, and not divided by all rows.
        m(
            "put_factors(c, dbeta[c], dgamma[c])",
            "put_factors(c, dgamma[c], dbeta[c])",
        ),
        m("= sum_x * p.inv_m * inv;", "= sum_x * inv;"),
        m("for (; k < w.count; k", "for (; k + 1u < w.count; k"),
        m("if w.lane + h < n {", "if w.lane + h + 1u < n {"),
        m(
            "lane[l] = lane[l] + lane[l + h];",
            "lane[l] = lane[l] + lane[l + h].yx;",
        ),
        m(
            "keep(i + u * w.step, d[u]);",
            "keep(i + u * w.step, d[u / 2u * 2u]);",
        ),
        m(
            "i = i + FLIGHT * p.span;",
            "i = i + (FLIGHT - 1u) * p.span;",
        ),
        m(
            "affine(v, f.mean, f.scale, f.beta))",
            "affine(v, f.mean, f.scale, E(0.0)))",
        ),
        m(
            "lets_through(affine(v, f.mean, f.scale, f.beta))",
            "affine(v, f.mean, f.scale, f.beta) > E(0.0)",
        ),
        m("lets_through(E(y[i]))", "E(y[i]) > E(0.0)"),
    ]
}

#[cfg(test)]
mod tests {
    use crate::graph::DType;

    /// Where the mask is made of x it must not hang on the last bit: no value lies within what f32 leaves open (3
    /// roundings of numbers up to 4, and an inverse root of 2 ulp: 2e-6).
    #[test]
    fn no_case_lies_at_the_kink() {
        let (mut least, mut seen) = (f64::INFINITY, 0);
        for case in super::cases() {
            // The sums of the second half come before beta.
            let at = if case.op.name() == "batch_norm_grad_apply" {
                7
            } else {
                5
            };
            if case.inputs.get(at).is_none_or(|f| f.ty.shape.rank() > 1) {
                continue;
            }
            let v: Vec<Vec<f64>> = case
                .inputs
                .iter()
                .enumerate()
                .map(|(i, f)| f.make(case.seed(i)).to_f64())
                .collect();
            let half = case.inputs[1].ty.dtype == DType::F16;
            let c = v[2].len();
            for (i, x) in v[1].iter().enumerate() {
                let j = i % c;
                let x = if half {
                    f64::from(half::f16::from_f64(*x))
                } else {
                    *x
                };
                let y = v[2][j] * (x - v[3][j]) / (v[4][j] + 1e-5).sqrt() + v[at][j];
                least = y.abs().min(least);
                seen += 1;
            }
        }
        assert!(least > 2e-6 && seen > 10_000, "{least:.2e} of {seen}");
    }
}
