//! Cases of `layer_norm`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::layer_norm::LayerNorm;

fn case(op: LayerNorm, x: Feed) -> Case {
    let d = x.ty.dims().last().copied().unwrap_or(1);
    let w = Feed::range([d], 0.5, 1.5);
    let b = Feed::uniform([d]);
    // Mean and rstd carry no gradient.
    Case::new(op, vec![x, w, b]).depth(d).loss_outputs(1)
}

pub(super) fn cases() -> Vec<Case> {
    let op = LayerNorm::new(1e-6);
    let half = LayerNorm { half: true, ..op };
    let mut v: Vec<Case> = [
        (3, 7),
        (5, 64),
        (9, 37),
        (33, 130),
        (200, 12),
        (7, 768),
        (4, 1030),
        (2, 4100),
    ]
    .map(|(n, d)| case(op, Feed::uniform([n, d])).grads(&[0, 1, 2]))
    .into();
    v.push(case(op, Feed::uniform([2, 3, 48])).note("rank 3"));
    // A single value is its own mean, and y is the shift. The gradient is not differenced: y varies at the scale of
    // sqrt(eps) = 1e-3.
    v.push(case(op, Feed::uniform([5, 1])).note("single values"));
    // x - mean is exact, so that no digits are lost.
    v.push(case(op, Feed::range([9, 132], 99.0, 101.0)).note("mean 100"));
    v.push(case(op, Feed::range([9, 96], -1e-3, 1e-3)).note("small"));
    let constant = |d: usize| {
        let rows = [1000.1, -77.7, 3333.3, 0.1];
        let values = rows.iter().flat_map(|v| std::iter::repeat_n(*v, d));
        Feed::values([rows.len(), d], values.collect())
    };
    v.push(case(op, constant(67)).note("constant rows"));
    v.push(case(op, constant(192)).note("constant rows"));
    v.push(case(half, Feed::uniform([33, 130])).note("half"));
    v.push(case(half, Feed::uniform([5, 192])).note("half"));
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    let m = |find, replace| Mutation {
        kernel: "layer_norm",
        find,
        replace,
    };
    vec![
        m("(v[i] - E(f.x)) * f.y", "v[i] * f.y"),
        m(
            "(x[at + c] - E(m) - E(f.x)) * f.y",
            "(x[at + c] - E(m)) * f.y",
        ),
        m("+ p.a)", ")"),
        m("let c = l + i * 64u;", "let c = l + i * 63u;"),
    ]
}
