//! Cases of `gelu`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::gelu::Gelu;

pub(super) fn cases() -> Vec<Case> {
    let op = Gelu::default();
    let mut v: Vec<Case> = [1, 3, 64, 65, 1000, 4096, 16385]
        .map(|n| Case::new(op, vec![Feed::range([n], -4.0, 4.0)]).grads(&[0]))
        .into();
    // The lower tail alone: values of 1e-7 and less, which 1 + erf(x) would lose. The exponential's error there is
    // that of its exponent, x^2/2 <= 18, in f32, and 3 + 2 * 18 units of WGSL's own: a part in 8 of `condition` 8.
    v.push(
        Case::new(op, vec![Feed::range([640], -6.0, -5.0)])
            .note("tail")
            .condition(8.0),
    );
    let extremes = vec![
        0.0, -0.0, 1e-20, -1e-20, 1e-4, -1e-4, 30.0, -30.0, 1e4, -1e4,
    ];
    v.push(Case::new(op, vec![Feed::values([10], extremes)]).note("extremes"));
    let half = Gelu { half: true, ..op };
    v.extend([7, 640].map(|n| Case::new(half, vec![Feed::range([n], -4.0, 4.0)]).note("half")));
    v.extend([5, 96].map(|n| {
        let case = Case::new(half, vec![Feed::range([n], -4.0, 4.0)]);
        case.note("of halves").in_f16(&[0])
    }));
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "gelu",
        find: "v * normal(v).phi",
        replace: "max(v, V(0.0)) * normal(v).phi",
    }]
}
